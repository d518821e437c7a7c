"""The end of a run, as an exit code and in words.

0    SUCCEEDED
4    SUCCEEDED, but the gate did not pass: the steps that need its PASS were skipped
N    FAILED: the failed step's own exit code if its log has one of ours (see `llm.errors`); else that of the end that
     its pod had (2: too little memory or time; 75: the pod was taken away); else 70
2    FAILED without a failed step (a pod that could not be made, a driver), or SKIPPED: the cluster refused; or we
     cancelled it because a step could not start, and would not start by itself
75   cancelled: CANCELED, or FAILED after somebody asked for its end; the training left a checkpoint
"""

from __future__ import annotations

from dataclasses import dataclass

from llm.cluster.pipelines.pods.step_logs import StepLog, StepLogs
from llm.cluster.pipelines.run_state import DRIVER, RunState
from llm.cluster.pipelines.wait import CannotStart
from llm.errors import EXIT_FAULT, EXIT_OK, GateNotPassed, Preempted, ServiceError, UserError, ValidationFailed
from llm.process.interrupts import Interrupted

PASSED, CHANGED = "passed", "changed"
"""The groups of a pipeline: the steps that only the gate's PASS leads to, and all steps, unless every product is there
and the gate's verdict is PASS."""
OUR_CODES = frozenset(
    error.exit_code for error in (UserError, ValidationFailed, GateNotPassed, Preempted)
) | {EXIT_FAULT}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The end of a run."""

    exit_code: int
    message: str | None
    step: str | None = None
    """The step that failed."""
    log: StepLog | None = None
    """Its output; None if it cannot be read."""
    has_begun: bool = True
    """Whether that step began, so that there should be a log."""


def outcome(run: RunState, logs: StepLogs, cancelled_for: Interrupted | CannotStart | None = None) -> Outcome:
    """The end of a run; `cancelled_for` says why we cancelled it, if we did."""
    if run.state == "SUCCEEDED":
        return _succeeded(run)
    if isinstance(cancelled_for, CannotStart):
        message = f"{cancelled_for}\n  The run was cancelled: submit the same again to go on"
        return Outcome(CannotStart.exit_code, message, cancelled_for.step, has_begun=False)
    if run.was_cancelled or cancelled_for is not None:
        return Outcome(Preempted.exit_code, "cancelled: submit the same again to go on")
    if run.state == "SKIPPED":
        return Outcome(ServiceError.exit_code, "Kubeflow Pipelines skipped the whole run: nothing was done")
    return _failed(run, logs)


def _succeeded(run: RunState) -> Outcome:
    if PASSED in run.untaken_conditions and CHANGED not in run.untaken_conditions:
        message = "the gate did not pass the model: it is registered, but not promoted"
        return Outcome(GateNotPassed.exit_code, message, "gate")
    return Outcome(EXIT_OK, None)


def _failed(run: RunState, logs: StepLogs) -> Outcome:
    for refused in logs.refused(run.id):
        words = CannotStart(refused.step, refused.obstacle) if refused.obstacle is not None else refused.trouble
        return Outcome(CannotStart.exit_code, str(words), refused.step, has_begun=False)
    node = run.failed_node
    if node is None:
        return _never_begun(run, logs)
    is_driver = node.base.endswith(DRIVER)
    step = node.base.removesuffix(DRIVER)
    log = logs.read(run, step, of_driver=is_driver)
    if is_driver:
        why = (logs.pods.workflow_message(run.id) if logs.pods else None) or "Kubeflow Pipelines' driver failed"
        return Outcome(ServiceError.exit_code, f"{step} could not be prepared: {why}", step, log)
    status = None if log is None else log.exit_status
    lost, argo = logs.pods.loss(run.id, step) if logs.pods and status not in OUR_CODES else (None, None)
    if lost is not None:
        return Outcome(lost.exit_code, f"{step}: {lost.words}", step, log)
    if log is None:
        why = f": {argo}" if argo else ""
        return Outcome(EXIT_FAULT, f"{step} failed, and its log cannot be read{why}", step)
    code = status if status in OUR_CODES else EXIT_FAULT
    words = log.own_words or (f"failed with exit status {status}" if status is not None else "failed")
    return Outcome(code, f"{step}: {words}", step, log)


def _never_begun(run: RunState, logs: StepLogs) -> Outcome:
    """No step failed: the cluster did not let one begin."""
    why = run.error or (logs.pods.workflow_message(run.id) if logs.pods else None)
    return Outcome(
        ServiceError.exit_code,
        f"the run ended {run.state}, and no step of it failed: {why or 'Kubeflow Pipelines does not say why'}",
    )
