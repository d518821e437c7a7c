"""Starting a run in Kubeflow Pipelines, and staying with it to its end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from llm.cluster.api import Api
from llm.cluster.first_wins import earlier
from llm.cluster.pipelines.cancel import ask_for_the_end, await_the_end
from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.package import compile_package
from llm.cluster.pipelines.pods.step_logs import StepLogs
from llm.cluster.pipelines.pods.step_pods import StepPods
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.wait import CannotStart, Limits, RunPrinter, wait
from llm.cluster.refusal import Refused, Unreachable
from llm.config import RunConfig
from llm.errors import ServiceError, UserError
from llm.process.interrupts import Interrupted, Interrupts


class Choice(Enum):
    """The choices of a user who interrupts the wait."""

    WAIT = "wait"
    LEAVE = "leave"
    CANCEL = "cancel"


class StoppedWaiting(Exception):
    """We wait no longer; the run goes on, or ends, in the cluster."""


@dataclass(frozen=True)
class Waiter:
    """Everything that waiting for a run needs."""

    api: KfpApi
    logs: StepLogs
    printer: RunPrinter
    interrupts: Interrupts
    limits: Limits
    end_training: Callable[[str | None], object]
    """Deletes the TrainJobs that the run started on pools; takes the namespace of its pods, if that is known."""


def start(
    api: KfpApi,
    function: Callable[..., Any],
    config: RunConfig,
    logs: StepLogs,
    interrupts: Interrupts,
    check_places: Callable[[Api, RunConfig], object],
) -> RunState:
    """Compile and start a run that has a name.

    Before anything is made, raises UserError if a run of that name is active, or if the service account is not there;
    what `check_places` raises about pool and queues, as far as that can be seen; and Interrupted for a signal that was
    held until then. The caller holds signals, so that it has the run before it handles the next one.
    """
    name = str(config.run.name)
    if active := api.active(name):
        _refuse_second(name, active[0])
    if logs.pods is not None:
        _check_platform(logs.pods, config, check_places)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package.yaml"
        compile_package(function, config, package)
        interrupts.raise_held()
        return _created(api, package, config)


def _check_platform(pods: StepPods, config: RunConfig, check_places: Callable[[Api, RunConfig], object]) -> None:
    """Check the objects of the platform chart, if KFP is in the cluster that we see: it may be in another one.

    An object that we may not read passes.
    """
    namespace = pods.kfp_namespace()
    if namespace is None:
        return
    account = config.cluster.service_account
    if pods.lacks(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}"):
        raise UserError(
            f"there is no service account {account} in the namespace {namespace} of Kubeflow Pipelines",
            "Install the chart gristmill-platform there, or set cluster.service_account.",
        )
    with closing(pods.api_in(namespace)) as there, suppress(Refused, Unreachable):
        check_places(there, config)


def _created(api: KfpApi, package: Path, config: RunConfig) -> RunState:
    name, cluster = str(config.run.name), config.cluster
    try:
        run = api.create(package, name, cluster.experiment, cluster.service_account)
    except Unreachable as error:
        hint = f"It may have begun nevertheless: gristmill status {name}"
        raise Unreachable(str(error), hint, status=error.status) from error
    with suppress(Refused, Unreachable):  # an outage just now: the run is there, and we wait for it
        _give_way(api, run)
    return run


def _refuse_second(name: str, other: RunState) -> None:
    raise UserError(
        f"a run {name} is active already: {other.state}, id {other.id}",
        f"`gristmill status {name} --wait` waits for it, `gristmill cancel {name}` ends it;"
        " another name (run.name=…) makes another run.",
    )


def _give_way(api: KfpApi, run: RunState) -> None:
    """End this run if another of its name was started at the same moment: KFP lets two runs have one name."""
    first = earlier(run, api.active(run.name))
    if first is not None:
        api.terminate(run.id)
        _refuse_second(run.name, first)


def wait_to_the_end(
    waiter: Waiter, run: RunState, config: RunConfig, choose: Callable[[Interrupted], Choice]
) -> tuple[RunState, Interrupted | CannotStart | None]:
    """The run at its end, and why we cancelled it if we did. When interrupted, `choose` decides about it.

    A step that cannot start cancels it, and so does an interruption of `choose`; an interruption of the cancelling
    leaves it to the cluster. Raises StoppedWaiting if the run goes on; Unreachable or Refused if it cannot be seen any
    more.
    """
    interrupts, printer = waiter.interrupts, waiter.printer
    cause: Interrupted | CannotStart
    while True:
        try:
            interrupts.raise_held()
            return wait(waiter.api, run.id, printer, waiter.limits, waiter.logs.held_up), None
        except Interrupted as interrupted:
            cause, choice = interrupted, _chosen(choose, interrupted)
        except CannotStart as error:
            cause, choice = error, Choice.CANCEL
        if choice is Choice.LEAVE:
            raise StoppedWaiting("the run goes on")
        if choice is Choice.CANCEL:
            try:
                with interrupts.held():
                    printer.say(_cancelling(cause))
                    ask_for_the_end(waiter.api, run, waiter.limits, interrupts)
                return _end(waiter, run, config), cause
            except Interrupted as interrupted:
                raise StoppedWaiting("the run was asked to end") from interrupted


def _chosen(choose: Callable[[Interrupted], Choice], interrupted: Interrupted) -> Choice:
    try:
        return choose(interrupted)
    except Interrupted:
        return Choice.CANCEL


def _cancelling(cause: Interrupted | CannotStart) -> str:
    if isinstance(cause, CannotStart):
        return f"{cause.summary}: cancelling the run; Ctrl-C leaves it to the cluster"
    return "cancelling the run; once more leaves it to the cluster"


def _end(waiter: Waiter, run: RunState, config: RunConfig) -> RunState:
    waiter.interrupts.raise_held()
    if config.training.pool is not None:
        try:
            waiter.end_training(waiter.logs.namespace_of(run.id))
        except (ServiceError, UserError) as error:  # the step that follows the training ends it too
            waiter.printer.say(f"whether its training has ended is not known: {error}")
    return await_the_end(waiter.api, run.id, waiter.printer, waiter.limits)
