"""`gristmill logs RUN`: what the steps of a run on a cluster print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from llm.cli.cluster.recorded import tell_log
from llm.cli.cluster.shared import ACCESS, run_and_config, say
from llm.config import nearest
from llm.errors import ServiceError, UserError

if TYPE_CHECKING:
    from llm.cluster.pipelines.run_state import RunState


@click.command(
    "logs",
    help=f"""Print the logs of the steps of RUN (name or id) on the cluster, one after the other.

    They are read from the pods, or where those are gone or may not be read, through Kubeflow Pipelines. With --runs the
    lines come that the run left in its own folder, here or in a bucket, and no cluster is asked.

    {ACCESS}""",
)
@click.argument("arguments", nargs=-1, metavar="RUN [KEY=VALUE]...")
@click.option("--step", default=None, help="Only this step.")
@click.option("--follow", is_flag=True, help="Also print what comes, until the run ends.")
@click.option("--runs", "root", default=None, metavar="FOLDER", help="Folder of all runs, or s3://BUCKET/PREFIX/runs.")
def command(arguments: tuple[str, ...], step: str | None, follow: bool, root: str | None) -> int:
    """Print the lines that are there, and with --follow also new lines."""
    name, config = run_and_config(arguments)
    if root is not None:
        if follow:
            raise UserError("--follow asks the cluster, and --runs does not", "Leave one of them out.")
        return tell_log(root, name, step)
    if name is None:
        raise UserError("of which run?", "`gristmill status` lists them.")
    from llm.cluster.pipelines.kfp_client import connect
    from llm.cluster.pipelines.pods.step_logs import StepLogs, follow_logs
    from llm.cluster.pipelines.wait import Limits

    api = connect(config.cluster)
    run = api.find(name)
    _check_step(run, step)
    logs = StepLogs(api, config.cluster)
    told = 0
    for heading, text in follow_logs(api, run, logs, Limits(), say, only=step, to_the_end=follow):
        told += 1
        if heading is not None:
            sys.stdout.flush()
            say(heading)
        click.echo(text, nl=False)
        sys.stdout.flush()
    if not told:
        raise ServiceError(
            f"no log of {f'step {step}' if step else 'a step'} of run {run.name} can be read",
            logs.why_no_pods or "Its pods are gone, or have not begun.",
            f"The run is {run.state}; see {api.page(run.id)}",
        )
    return 0


def _check_step(run: RunState, step: str | None) -> None:
    from llm.cluster.pipelines.run_state import step_names

    names = step_names(run.specification)
    if step is not None and names and step not in names:
        raise UserError(f"run {run.name} has no step {step}", nearest(step, names))
