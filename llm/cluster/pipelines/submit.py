"""Starting a run in Kubeflow Pipelines, and seeing it through to its end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

from llm.cluster.pipelines.cancel import ask_for_the_end, await_the_end, end_training
from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.kfp_requests import KfpError
from llm.cluster.pipelines.package import compile_package
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.step_logs import StepLogs
from llm.cluster.pipelines.step_pods import StepPods
from llm.cluster.pipelines.wait import CannotStart, Narrator, Patience, wait
from llm.config import RunConfig
from llm.errors import ServiceError, UserError
from llm.process.interrupts import Interrupted, Interrupts


class Choice(Enum):
    """What is to become of a run when whoever waits for it is interrupted."""

    WAIT = "wait"
    LEAVE = "leave"
    CANCEL = "cancel"


class Left(Exception):
    """We stopped waiting; the run's end is the cluster's."""


def start(
    api: KfpApi, function: Callable[..., Any], config: RunConfig, logs: StepLogs, interrupts: Interrupts
) -> RunState:
    """Compile and start a run that has a name.

    Before anything is made, raises UserError if a run of that name is going on, or if the service account or the pool
    is not there, ServiceError without Kubeflow Trainer for a pool, as far as that can be seen; and Interrupted for a
    signal that was held until then. Hold them: so the run is in the caller's hands before the next one.
    """
    name = str(config.run.name)
    if going_on := api.going_on(name):
        _refuse_second(name, going_on[0])
    if logs.pods is not None:
        _check_platform(logs.pods, config)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package.yaml"
        compile_package(function, config, package)
        interrupts.raise_held()
        return _created(api, package, config)


def _check_platform(pods: StepPods, config: RunConfig) -> None:
    """Look for what the platform chart installs, if KFP itself is in the cluster that we see: it may be another one."""
    namespace = pods.kfp_namespace()
    if namespace is None:
        return
    account, pool = config.cluster.service_account, config.training.pool
    if pods.lacks(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}"):
        raise UserError(
            f"there is no service account {account} in the namespace {namespace} of Kubeflow Pipelines",
            "Install the chart gristmill-platform there, or set cluster.service_account.",
        )
    if pool is not None:
        pods.check_pool(namespace, pool)


def _created(api: KfpApi, package: Path, config: RunConfig) -> RunState:
    name, cluster = str(config.run.name), config.cluster
    try:
        run = api.create(package, name, cluster.experiment, cluster.service_account)
    except KfpError as error:
        if not error.may_pass:
            raise
        hint = f"It may have begun nevertheless: gristmill status {name}"
        raise KfpError(str(error), hint, status=error.status) from error
    with suppress(KfpError):  # the server went away just now: the run is there, and is waited for
        _yield_to_a_simultaneous_one(api, run)
    return run


def _refuse_second(name: str, other: RunState) -> None:
    raise UserError(
        f"a run {name} is going on already: {other.state}, id {other.id}",
        f"`gristmill status {name} --wait` waits for it, `gristmill cancel {name}` ends it;"
        " another name (run.name=…) makes another run.",
    )


def _yield_to_a_simultaneous_one(api: KfpApi, run: RunState) -> None:
    """End this run if another of its name was started at the same moment: KFP itself lets two have one name.

    Whoever sees one that is not younger than its own gives way. Times are whole seconds, so both may: rather none than
    two that write into one run.
    """
    others = [other for other in api.going_on(run.name) if other.id != run.id]
    for other in others:
        if other.created is None or run.created is None or other.created <= run.created:
            api.terminate(run.id)
            _refuse_second(run.name, other)


def see_through(
    api: KfpApi,
    run: RunState,
    config: RunConfig,
    logs: StepLogs,
    narrator: Narrator,
    interrupts: Interrupts,
    choose: Callable[[Interrupted], Choice],
    patience: Patience,
) -> tuple[RunState, Interrupted | CannotStart | None]:
    """The run at its end, and why we cancelled it if we did. When interrupted, `choose` says what becomes of it.

    A step that cannot start cancels it, and so does an interruption of `choose`; one of the cancelling leaves it to the
    cluster. Raises Left if the run goes on, and KfpError if it cannot be seen any more.
    """
    cause: Interrupted | CannotStart
    while True:
        try:
            interrupts.raise_held()
            return wait(api, run.id, narrator, patience, logs.held_up), None
        except Interrupted as interrupted:
            cause, choice = interrupted, _chosen(choose, interrupted)
        except CannotStart as error:
            cause, choice = error, Choice.CANCEL
        if choice is Choice.LEAVE:
            raise Left("the run goes on")
        if choice is Choice.CANCEL:
            try:
                with interrupts.held():
                    narrator.say(_cancelling(cause))
                    ask_for_the_end(api, run, patience, interrupts)
                return _end(api, run, config, logs, narrator, interrupts, patience), cause
            except Interrupted as interrupted:
                raise Left("the run was asked to end") from interrupted


def _chosen(choose: Callable[[Interrupted], Choice], interrupted: Interrupted) -> Choice:
    try:
        return choose(interrupted)
    except Interrupted:
        return Choice.CANCEL


def _cancelling(cause: Interrupted | CannotStart) -> str:
    if isinstance(cause, CannotStart):
        return f"{cause.summary}: cancelling the run; Ctrl-C leaves it to the cluster"
    return "cancelling the run; once more leaves it to the cluster"


def _end(
    api: KfpApi,
    run: RunState,
    config: RunConfig,
    logs: StepLogs,
    narrator: Narrator,
    interrupts: Interrupts,
    patience: Patience,
) -> RunState:
    interrupts.raise_held()
    if config.training.pool is not None:
        try:
            end_training(str(config.run.name), config.cluster, narrator.say, logs.namespace_of(run.id))
        except (ServiceError, UserError) as error:  # the step that follows the training ends it too: go on
            narrator.say(f"whether its training has ended is not known: {error}")
    return await_the_end(api, run.id, narrator, patience)
