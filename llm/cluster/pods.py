"""What the pods of a training say of themselves: where they stand, how they ended, what keeps them from starting."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llm.cluster.api import Json

NODE = "node"
"""Name of the pools' replicated job and of its pods' container."""
INDEX = "batch.kubernetes.io/job-completion-index"
ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"
DEFAULT_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Ending:
    """How the training ended in one pod."""

    pod: str
    index: int
    attempt: int
    """How often the JobSet had been restarted before."""
    exit_code: int | None
    """None if the node ended the pod before its container could."""
    reason: str
    """The kubelet's word: `Error`, `OOMKilled`, `Evicted`, …"""
    message: str
    """The trainer's own last words, from its termination log; may be empty."""
    at: str
    """RFC 3339 in UTC, which sorts."""
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


def name_of(pod: Json) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def index_of(pod: Json) -> int:
    """The number of the training's node that the pod is."""
    return int(_label(pod, INDEX))


def attempt_of(pod: Json) -> int:
    """How often the JobSet had been restarted when it made the pod."""
    return int(_label(pod, ATTEMPT))


def ending_of(pod: Json) -> Ending | None:
    """How the pod ended; None while it has not."""
    status = pod.get("status") or {}
    ended = _state(pod).get("terminated")
    if ended is None and status.get("phase") != "Failed":
        return None
    by_node = str(status.get("reason") or "")  # Evicted, NodeShutdown, …: the cause of what the container says
    ended = ended or {}
    code = ended.get("exitCode")
    return Ending(
        pod=name_of(pod), index=index_of(pod), attempt=attempt_of(pod), exit_code=None if code is None else int(code),
        reason=by_node or str(ended.get("reason") or ""),
        message=str(ended.get("message") or status.get("message") or "").strip(),
        at=str(ended.get("finishedAt") or ""), memory_limit=_resources(pod).get("limits", {}).get("memory"),
    )  # fmt: skip


def is_running(pod: Json) -> bool:
    """Whether the training runs in the pod."""
    return "running" in _state(pod)


def has_log(pod: Json) -> bool:
    """Whether the training runs in the pod, or has."""
    return is_running(pod) or "terminated" in _state(pod)


def waiting(pod: Json) -> tuple[str, str]:
    """Why the container does not start, in the kubelet's word and message; two empty strings where it says nothing."""
    state = _state(pod).get("waiting") or {}
    return str(state.get("reason") or ""), str(state.get("message") or "")


def unschedulable(pod: Json) -> str | None:
    """The scheduler's reason why no node takes the pod; None if one has, or it was not looked for yet."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or "") if condition.get("reason") == "Unschedulable" else None
    return None


def node_of(pod: Json) -> str | None:
    """The node that the pod is on; None while none was chosen."""
    name: str | None = pod["spec"].get("nodeName")
    return name


def is_going(pod: Json) -> bool:
    """Whether the pod was asked to end."""
    return "deletionTimestamp" in pod["metadata"]


def image_of(pod: Json) -> str:
    """The training's image."""
    return str(_container(pod).get("image") or "")


def asks_for(pod: Json) -> str:
    """What the pod asks of a node: `cpu 4, nvidia.com/gpu 1`."""
    resources = _resources(pod)
    wanted = {**resources.get("limits", {}), **resources.get("requests", {})}
    return ", ".join(f"{name} {amount}" for name, amount in sorted(wanted.items())) or "nothing"


def grace_seconds(pods: Iterable[Json]) -> float:
    """How long the pods may take to end when they are asked to."""
    return max((float(pod["spec"].get("terminationGracePeriodSeconds") or 0) for pod in pods),
               default=DEFAULT_GRACE_SECONDS)  # fmt: skip


def _label(pod: Json, name: str) -> str:
    return str((pod["metadata"].get("labels") or {}).get(name, "0"))


def _state(pod: Json) -> Json:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    found: Json = next((status.get("state") or {} for status in statuses if status["name"] == NODE), {})
    return found


def _container(pod: Json) -> Json:
    found: Json = next((one for one in pod["spec"]["containers"] if one["name"] == NODE), {})
    return found


def _resources(pod: Json) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = _container(pod).get("resources") or {}
    return found


def _signal(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
