"""The end of a step that could not say itself why it ended: its pod was killed, evicted or deleted.

The kubelet's word stands in the pod, and Argo's in the node of the Workflow, which outlives the pod.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from llm.cluster.api import Json
from llm.cluster.pipelines.pods.refused import nodes_of, step_of_node
from llm.cluster.pods import Pod
from llm.errors import Preempted, UserError

NO_MEMORY = "OOMKilled"
TOO_LONG = ("DeadlineExceeded", "longer than the specified deadline")
GONE = re.compile(r"pod deleted|evict|preempt|shutdown|node (?:was )?lost|low on resource", re.IGNORECASE)
"""Argo's words for a pod that somebody or something took away."""
NOTHING_NEW = re.compile(r"(?:Error|Completed)? ?\(exit code \d+\)")
"""Argo's words for a container that ended by itself."""
AGAIN = "Submit the same again to go on."


@dataclass(frozen=True)
class Loss:
    """Why a step ended, in words, with the exit code of the run."""

    words: str
    exit_code: int


def loss_of(step: str, pod: Pod | None, argo: str | None) -> Loss | None:
    """Why the step ended, by its last pod and by Argo; None if neither knows more than that it failed."""
    reason = "" if pod is None else pod.reason
    if NO_MEMORY in (argo or "") or (pod is not None and pod.terminated and pod.terminated.reason == NO_MEMORY):
        limit = None if pod is None else pod.limits.get("memory")
        limited = f"; its limit is {limit}" if limit else ""
        words = f"{_its(pod)} was killed for lack of memory ({NO_MEMORY}{limited})"
        return Loss(f"{words}\n  Raise pods.steps.{step}.memory_limit. {AGAIN}", UserError.exit_code)
    if reason == TOO_LONG[0] or TOO_LONG[1] in (argo or ""):
        words = f"{_its(pod)} took longer than it may"
        return Loss(f"{words}\n  Raise pods.steps.{step}.timeout_seconds. {AGAIN}", UserError.exit_code)
    if pod is not None and reason:
        said = f": {pod.message}" if pod.message else ""
        return Loss(f"{_its(pod)} was ended by its node: {reason}{said}\n  {AGAIN}", Preempted.exit_code)
    if argo is not None and GONE.search(argo):
        return Loss(f"its pod is gone: {argo}\n  {AGAIN}", Preempted.exit_code)
    return None


def words_of_argo(workflows: Iterable[Json], step: str) -> str | None:
    """Argo's message about the pod of a step that failed; None if it has none, or says no more than an exit code."""
    nodes = (node for workflow in workflows for node in nodes_of(workflow.get("status") or {}).values())
    failed = (one for one in nodes if one.get("type") == "Pod" and one.get("phase") in ("Error", "Failed"))
    of_step = (one for one in failed if step_of_node(str(one.get("name") or "")) == (step, False))
    said = [str(one["message"]) for one in of_step if one.get("message")]
    return next((words for words in reversed(said) if not NOTHING_NEW.fullmatch(words)), None)


def _its(pod: Pod | None) -> str:
    return "its pod" if pod is None else f"its pod {pod.name}"
