"""`gristmill cancel RUN`: the end of a run on a cluster, wherever it was started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llm.cli.cluster.shared import ACCESS, poll_seconds, run_and_config, say
from llm.errors import ServiceError, UserError

if TYPE_CHECKING:
    from llm.cluster.pipelines.kfp_client import KfpApi
    from llm.cluster.pipelines.kfp_requests import KfpError
    from llm.cluster.pipelines.run_state import RunState
    from llm.cluster.pipelines.wait import Patience
    from llm.config import ClusterConfig, RunConfig


@click.command(
    "cancel",
    help=f"""End RUN (name or id): its pipeline in Kubeflow Pipelines, and its training on the cluster.

    A training saves a checkpoint first, so the same command goes on from it later. Also ends the training of a run that
    `gristmill run` started on another machine: then there is no pipeline to end.

    {ACCESS}""",
)
@click.argument("arguments", nargs=-1, required=True, metavar="RUN [KEY=VALUE]...")
@click.option(
    "--wait-seconds", default=180.0, show_default=True, type=click.FloatRange(0), help="How long to wait for its end."
)
@poll_seconds
def command(arguments: tuple[str, ...], wait_seconds: float, poll_seconds: float) -> int:
    """Ask for the end, and wait for it."""
    name, config = run_and_config(arguments)
    if name is None:
        raise UserError("which run?", "`gristmill status` lists them.")
    from llm.cluster.pipelines.kfp_client import connect, endpoint
    from llm.cluster.pipelines.kfp_requests import KfpError
    from llm.cluster.pipelines.wait import Patience

    try:
        api = connect(config.cluster)
    except KfpError as absent:
        _without_kfp(name, config.cluster, absent, is_known=endpoint(config.cluster) is not None)
        return 0
    try:
        run = api.find(name)
    except UserError:
        if not _ended_training(name, config.cluster):
            raise
        click.echo(f"the training of run {name} has ended; Kubeflow Pipelines at {api.uri} has no such run")
        return 0
    _with_kfp(api, run, config.cluster, Patience(poll_seconds=poll_seconds, cancel_seconds=wait_seconds))
    return 0


def _with_kfp(api: KfpApi, run: RunState, cluster: ClusterConfig, patience: Patience) -> None:
    from llm.cluster.pipelines.cancel import ask_for_the_end, await_the_end, end_training
    from llm.cluster.pipelines.step_logs import StepLogs
    from llm.cluster.pipelines.wait import Narrator
    from llm.process.interrupts import Interrupts

    had_ended, problem = run.has_ended, None
    if not had_ended:
        ask_for_the_end(api, run, patience, Interrupts())
        say(f"asked Kubeflow Pipelines to end run {run.name}, id {run.id}")
    config = _configuration(run)
    if config is None or config.training.pool is not None:
        name = run.name if config is None else str(config.run.name)
        own = None if config is None else config.cluster.namespace
        try:
            if had_ended and (others := api.going_on(name)):
                say(f"run {name}, id {others[0].id}, goes on: what trains under that name is its own, and stays")
            else:
                end_training(name, cluster, say, own or StepLogs(api, cluster).namespace_of(run.id))
        except (ServiceError, UserError) as error:
            problem = error
    if not had_ended:
        run = await_the_end(api, run.id, Narrator(say), patience)
    click.echo(f"run {run.name} {'had ended before' if had_ended else 'has ended'}: {run.state}")
    if problem is not None:
        raise ServiceError("whether its training has ended is not known", str(problem)) from problem


def _configuration(run: RunState) -> RunConfig | None:
    from llm.cluster.pipelines.cancel import configuration_of

    try:
        return configuration_of(run)
    except UserError as error:  # another version's: its end must not depend on that
        say(f"its configuration is not valid here: {error}")
        say("its training is looked for by the run's name, where its pods are; or set cluster.namespace")
        return None


def _without_kfp(name: str, cluster: ClusterConfig, absent: KfpError, *, is_known: bool) -> None:
    """Only the training can be ended: enough where Kubeflow Pipelines has no part in the run."""
    if _ended_training(name, cluster):
        click.echo(f"the training of run {name} has ended")
    elif not is_known:
        raise UserError(f"no training of a run {name} is on the cluster", f"Nor is there more: {absent}")
    if is_known:
        raise absent


def _ended_training(name: str, cluster: ClusterConfig) -> bool:
    from llm.cluster.pipelines.cancel import end_training

    try:
        return end_training(name, cluster, say)
    except (ServiceError, UserError) as error:
        say(f"warning: its training was looked for in vain: {error}")
        return False
