"""`gristmill cancel RUN`: the end of a run on a cluster, wherever it was started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llm.cli.cluster.shared import ACCESS, run_and_config, say
from llm.cli.cluster.trainings import end_training
from llm.errors import ServiceError, UserError

if TYPE_CHECKING:
    from llm.cluster.pipelines.kfp_client import KfpApi
    from llm.cluster.pipelines.run_state import RunState
    from llm.config import ClusterConfig, RunConfig


@click.command(
    "cancel",
    help=f"""End RUN (name or id): its pipeline in Kubeflow Pipelines, and its training on the cluster.

    A training saves a checkpoint first, so the same command goes on from it later. Also ends the training of a run that
    `gristmill run` started on another machine: then there is no pipeline to end.

    {ACCESS}""",
)
@click.argument("arguments", nargs=-1, required=True, metavar="RUN [KEY=VALUE]...")
def command(arguments: tuple[str, ...]) -> int:
    """Ask for the end, and wait for it."""
    name, config = run_and_config(arguments)
    if name is None:
        raise UserError("which run?", "`gristmill status` lists them.")
    from llm.cluster.pipelines.kfp_client import connect, endpoint

    try:
        api = connect(config.cluster)
    except ServiceError as absent:
        _without_kfp(name, config.cluster, absent, is_known=endpoint(config.cluster) is not None)
        return 0
    try:
        run = api.find(name)
    except UserError:
        if not _ended_training(name, config.cluster):
            raise
        click.echo(f"the training of run {name} has ended; Kubeflow Pipelines at {api.uri} has no such run")
        return 0
    _with_kfp(api, run, config.cluster)
    return 0


def _with_kfp(api: KfpApi, run: RunState, cluster: ClusterConfig) -> None:
    from llm.cluster.pipelines.cancel import ask_for_the_end, await_the_end
    from llm.cluster.pipelines.pods.step_logs import StepLogs
    from llm.cluster.pipelines.wait import Limits, RunPrinter
    from llm.process.interrupts import Interrupts

    had_ended, problem, limits = run.has_ended, None, Limits()
    if not had_ended:
        ask_for_the_end(api, run, limits, Interrupts())
        say(f"asked Kubeflow Pipelines to end run {run.name}, id {run.id}")
    config = _configuration(run)
    if config is None or config.training.pool is not None:
        name = run.name if config is None else str(config.run.name)
        own = None if config is None else config.cluster.namespace
        try:
            if had_ended and (others := api.active(name)):
                say(f"run {name}, id {others[0].id}, is active: the training of that name is its own, and stays")
            else:
                end_training(name, cluster, say, own or StepLogs(api, cluster).namespace_of(run.id))
        except (ServiceError, UserError) as error:
            problem = error
    if not had_ended:
        run = await_the_end(api, run.id, RunPrinter(say), limits)
    click.echo(f"run {run.name} {'had ended before' if had_ended else 'has ended'}: {run.state}")
    if problem is not None:
        raise ServiceError("whether its training has ended is not known", str(problem)) from problem


def _configuration(run: RunState) -> RunConfig | None:
    from llm.cluster.pipelines.cancel import configuration_of

    try:
        return configuration_of(run)
    except UserError as error:  # another version wrote it: the run must end all the same
        say(f"its configuration is not valid here: {error}")
        say("its training is looked for by the run's name, in the namespace of its pods; or set cluster.namespace")
        return None


def _without_kfp(name: str, cluster: ClusterConfig, absent: ServiceError, *, is_known: bool) -> None:
    """End the training alone. That is enough for a run that has no part in Kubeflow Pipelines."""
    ended = _ended_training(name, cluster)
    if ended:
        click.echo(f"the training of run {name} has ended")
    elif not is_known:
        raise UserError(
            f"no training of a run {name} is on the cluster", f"Kubeflow Pipelines was not found either: {absent}"
        )
    if is_known:
        done = "its training has ended" if ended else "no training of it is on the cluster"
        raise ServiceError(
            f"{done}; whether run {name} goes on in Kubeflow Pipelines is not known: {absent}",
            "Cancel it again when Kubeflow Pipelines answers.",
        ) from absent


def _ended_training(name: str, cluster: ClusterConfig) -> bool:
    try:
        return end_training(name, cluster, say)
    except (ServiceError, UserError) as error:
        say(f"warning: it is not known whether it trains on the cluster: {error}")
        return False
