"""`gristmill status [RUN]`: the state of the runs on a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from llm.cli.cluster.recorded import tell_status
from llm.cli.cluster.shared import ACCESS, folder_in_bucket, run_and_config, say, summary, tell_the_end
from llm.errors import ServiceError, UserError
from llm.words import duration

if TYPE_CHECKING:
    from llm.cluster.pipelines.kfp_client import KfpApi
    from llm.cluster.pipelines.pods.step_logs import StepLogs
    from llm.cluster.pipelines.run_state import RunState

LISTED = 20
TRAIN = "train"
"""The step whose training a queue may hold."""


@click.command(
    "status",
    help=f"""Print the state of RUN (name or id) and its steps on the cluster, or the newest runs.

    With --runs it is read from the run's own folder, here or in a bucket, and no cluster is asked.

    {ACCESS}""",
)
@click.argument("arguments", nargs=-1, metavar="[RUN] [KEY=VALUE]...")
@click.option("--wait", "waits", is_flag=True, help="Wait for the run's end; the exit code is the run's, as of submit.")
@click.option("--runs", "root", default=None, metavar="FOLDER", help="Folder of all runs, or s3://BUCKET/PREFIX/runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def command(arguments: tuple[str, ...], waits: bool, root: str | None, as_json: bool) -> int:
    """Look, or wait."""
    name, config = run_and_config(arguments)
    if root is not None:
        if waits:
            raise UserError("--wait asks the cluster, and --runs does not", "Leave one of them out.")
        return tell_status(root, name, as_json=as_json)
    if waits and name is None:
        raise UserError("--wait needs the name or id of a run", "`gristmill status` lists them.")
    from llm.cluster.pipelines.kfp_client import connect
    from llm.cluster.pipelines.outcome import outcome
    from llm.cluster.pipelines.pods.step_logs import StepLogs
    from llm.cluster.pipelines.wait import CannotStart, Limits, RunPrinter, wait

    api = connect(config.cluster)
    if name is None:
        _list(api.recent(LISTED), api, as_json)
        return 0
    run = api.find(name)
    logs = StepLogs(api, config.cluster)
    if not waits:
        _tell(api, run, logs, as_json)
        return 0
    try:
        run = wait(api, run.id, RunPrinter(say), Limits(), logs.held_up)
    except CannotStart as error:
        raise UserError(
            str(error), f"The run still waits for it. To end the run: gristmill cancel {run.name}"
        ) from error
    return tell_the_end(api, run, logs, outcome(run, logs), as_json)


def _list(runs: list[RunState], api: KfpApi, as_json: bool) -> None:

    if as_json:
        click.echo(json.dumps([summary(api, run) for run in runs], indent=1))
        return
    if not runs:
        click.echo(f"no runs at {api.uri}; make one with `gristmill submit pretrain`")
        return
    click.echo(f"{'run':32}{'state':12}{'time':>10}  id")
    for run in runs:
        click.echo(f"{run.name:32}{run.state:12}{duration(run.seconds):>10}  {run.id}")


def _tell(api: KfpApi, run: RunState, logs: StepLogs, as_json: bool) -> None:

    troubles = {} if run.has_ended else logs.troubles(run.id)
    queue = [] if run.has_ended else _state_in_queue(run)
    if as_json:
        click.echo(json.dumps({**summary(api, run), "cannot_start": troubles, "queue": queue}, indent=1))
        return
    taken = f"{'after' if run.has_ended else 'for'} {duration(run.seconds)}"
    click.echo(f"run {run.name} {run.state} {taken}, id {run.id}; {api.page(run.id)}")
    for node in run.steps:
        click.echo(f"  {node.name:14}{node.state:12}{duration(node.seconds):>10}")
    for step, trouble in troubles.items():
        click.echo(f"  {step:14}cannot start yet: {trouble}")
    for line in queue:
        click.echo(f"  {TRAIN:14}{line}")


def _state_in_queue(run: RunState) -> list[str]:
    """How its training stands in its queue, from the run's folder in the bucket; empty if nothing is known of it."""
    from llm.cluster.pipelines.cancel import configuration_of
    from llm.runs.attempt import last_attempt
    from llm.tracking.queue_words import state_in_queue

    if not any(node.name == TRAIN and node.state in ("PENDING", "RUNNING") for node in run.steps):
        return []
    try:
        config = configuration_of(run)
        found = None if config is None or config.training.pool is None else folder_in_bucket(run)
    except (UserError, ServiceError) as error:
        say(f"whether its training waits in a queue cannot be read from here: {error}")
        return []
    return [] if found is None else state_in_queue(last_attempt(found[0].events).events)
