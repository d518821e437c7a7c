"""The end of a training in one of its pods."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llm.cluster.pods import Pod, Terminated

INDEX = "batch.kubernetes.io/job-completion-index"
ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"


@dataclass(frozen=True)
class Ending:
    """The end of the training in one pod."""

    pod: str
    index: int
    attempt: int
    """Number of restarts of the JobSet before."""
    exit_code: int | None
    """None if the node ended the pod before its container could."""
    reason: str
    """The kubelet's word: `Error`, `OOMKilled`, `Evicted`, …"""
    message: str
    """The trainer's own last words, from its termination log; may be empty."""
    at: str
    """RFC 3339 in UTC: the text sorts by time."""
    memory_limit: str | None = None
    last_lines: tuple[str, ...] = ()

    def with_last_lines(self, lines: Iterable[str]) -> Ending:
        """The same, with the end of the pod's log."""
        return replace(self, last_lines=tuple(lines))

    def __str__(self) -> str:
        """In a sentence, without the trainer's words."""
        if self.reason == "OOMKilled":
            limit = f"its limit is {self.memory_limit}" if self.memory_limit else "its node had no more"
            return f"pod {self.pod} was killed for lack of memory (OOMKilled; {limit})"
        if self.exit_code is None:
            return f"pod {self.pod} was ended by its node: {self.reason} {self.message}".rstrip()
        if self.exit_code > 128 and (name := _signal(self.exit_code - 128)) is not None:
            return f"pod {self.pod} was killed ({name})"
        reason = "" if self.reason in ("", "Error", "Completed") else f" ({self.reason})"
        return f"pod {self.pod} ended with exit code {self.exit_code}{reason}"


def index_of(pod: Pod) -> int:
    """The number of the training's node that the pod is."""
    return int(pod.labels.get(INDEX, "0"))


def attempt_of(pod: Pod) -> int:
    """Number of restarts of the JobSet when it made the pod."""
    return int(pod.labels.get(ATTEMPT, "0"))


def ending_of(pod: Pod) -> Ending | None:
    """The end of the training in the pod; None before that."""
    if pod.terminated is None and pod.phase != "Failed":
        return None
    ended = pod.terminated or Terminated(None, "", "", "")
    return Ending(
        pod=pod.name, index=index_of(pod), attempt=attempt_of(pod), exit_code=ended.exit_code,
        reason=pod.reason or ended.reason,  # the node's word is the cause of what the container says
        message=(ended.message or pod.message).strip(), at=ended.at, memory_limit=pod.limits.get("memory"),
    )  # fmt: skip


def _signal(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
