"""Ending a run in Kubeflow Pipelines before its time.

KFP's Terminate ends the step that runs within a second, and informs nobody else. A step that follows a TrainJob deletes
it in that second; `gristmill cancel` deletes it too, in case the step could not.
"""

from __future__ import annotations

from llm.cluster.patience import patiently, silent
from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.wait import Limits, RunPrinter, wait
from llm.config import RunConfig, from_yaml
from llm.errors import ServiceError
from llm.process.interrupts import Interrupts
from llm.words import duration


def ask_for_the_end(api: KfpApi, run: RunState, limits: Limits, interrupts: Interrupts) -> None:
    """Ask KFP to end a run, as often as needed; raises Refused, Unreachable after `limits`, or Interrupted."""

    def ask() -> None:
        with interrupts.held():
            api.terminate(run.id)

    def pause(seconds: float) -> None:
        interrupts.raise_held()
        limits.clock.sleep(seconds)

    patiently(ask, limits.cancel_seconds, silent, "Kubeflow Pipelines", clock=limits.clock, pause=pause)


def await_the_end(api: KfpApi, run_id: str, printer: RunPrinter, limits: Limits) -> RunState:
    """A run that was asked to end, at its end; raises ServiceError if it takes longer than `limits` allow."""
    run = wait(api, run_id, printer, limits, for_seconds=limits.cancel_seconds)
    if not run.has_ended:
        raise ServiceError(
            f"run {run.name} was asked to end, and is still {run.state} after {duration(limits.cancel_seconds)}",
            f"See its workflow, {api.page(run_id)}, or wait for it: gristmill status {run.name} --wait",
        )
    return run


def configuration_of(run: RunState) -> RunConfig | None:
    """The configuration that a run was started with; None if it has none. Raises UserError if it is not valid here."""
    document = run.parameter("config")
    return None if document is None else from_yaml(document)
