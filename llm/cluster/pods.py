"""A pod as Kubernetes describes it, read once: what it asks for, what its containers do, what the scheduler says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
DEFAULT_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Waiting:
    """A container that does not start."""

    container: str
    image: str
    reason: str
    """The kubelet's word, such as `ErrImagePull`; empty where it gives none."""
    message: str


@dataclass(frozen=True)
class Terminated:
    """The end of a container."""

    exit_code: int | None
    reason: str
    message: str
    """The text that the process left in its termination log."""
    at: str
    """RFC 3339 in UTC: the text sorts by time."""


@dataclass(frozen=True)
class Ran:
    """A time for which a container ran."""

    started: str
    """RFC 3339 in UTC, as the kubelet gives it."""
    ended: str | None
    """None if it runs still."""


@dataclass(frozen=True)
class Pod:
    """One pod; "its container" means the one that the reader named."""

    name: str
    namespace: str
    phase: str
    created: str
    """RFC 3339 in UTC."""
    is_going: bool
    """Whether its deletion was asked for."""
    node: str | None
    """The node that it is on; None while there is none."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = 0.0
    """Seconds that it may take to end when it is asked to."""
    not_scheduled: tuple[str, str] | None = None
    """The scheduler's reason and message if it found no node."""
    waiting: tuple[Waiting, ...] = ()
    """All containers that do not start, init containers first."""
    image: str = ""
    """Its container's image."""
    is_running: bool = False
    """Whether its container runs."""
    terminated: Terminated | None = None
    """The end of its container; None before that."""
    reason: str = ""
    """Why the node ended the pod: `Evicted`, `NodeShutdown`, …; empty if it did not."""
    message: str = ""
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    ran: tuple[Ran, ...] = ()
    """When its container ran, as far as the kubelet still says it: this start of it and the one before."""

    @property
    def has_log(self) -> bool:
        """Whether its container runs, or ran."""
        return self.is_running or self.terminated is not None

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its end, so that its log is complete."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def unschedulable(self) -> str | None:
        """The scheduler's message that no node takes the pod; None if one did, or if it has not looked yet."""
        return self.not_scheduled[1] if self.not_scheduled and self.not_scheduled[0] == "Unschedulable" else None

    @property
    def asks_for(self) -> str:
        """Resources that its container asks of a node: `cpu 4, nvidia.com/gpu 1`."""
        wanted = {**self.limits, **self.requests}
        return ", ".join(f"{name} {amount}" for name, amount in sorted(wanted.items())) or "nothing"


def read_pod(document: Json, container: str) -> Pod:
    """Read the API server's JSON of a pod; `container` names the one that does the work."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    own: Json = next((one for one in spec.get("containers") or () if one["name"] == container), {})
    statuses = status.get("containerStatuses") or []
    of_own: Json = next((one for one in statuses if one.get("name") == container), {})
    state: Json = of_own.get("state") or {}
    resources = own.get("resources") or {}
    return Pod(
        name=metadata["name"], namespace=metadata.get("namespace", ""), phase=status.get("phase", "Pending"),
        created=metadata.get("creationTimestamp", ""), is_going="deletionTimestamp" in metadata,
        node=spec.get("nodeName"), labels=metadata.get("labels") or {}, annotations=metadata.get("annotations") or {},
        grace_seconds=float(spec.get("terminationGracePeriodSeconds") or 0),
        not_scheduled=_not_scheduled(status),
        waiting=_waiting([*(status.get("initContainerStatuses") or ()), *statuses]),
        image=str(own.get("image") or ""), is_running="running" in state, terminated=_terminated(state),
        reason=str(status.get("reason") or ""), message=str(status.get("message") or ""),
        requests=resources.get("requests") or {}, limits=resources.get("limits") or {},
        uid=metadata.get("uid", ""), ran=(*_ran(of_own.get("lastState") or {}), *_ran(state)),
    )  # fmt: skip


def grace_seconds(pods: Sequence[Pod]) -> float:
    """Seconds that the pods may take to end when they are asked to."""
    return max((pod.grace_seconds for pod in pods), default=DEFAULT_GRACE_SECONDS)


def _not_scheduled(status: Json) -> tuple[str, str] | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("reason") or ""), str(condition.get("message") or "")
    return None


def _waiting(statuses: Sequence[Json]) -> tuple[Waiting, ...]:
    found = ((one, (one.get("state") or {}).get("waiting")) for one in statuses)
    return tuple(
        Waiting(
            str(one.get("name") or ""), str(one.get("image") or ""), str(waiting.get("reason") or ""),
            " ".join(str(waiting.get("message") or "").split()),
        )
        for one, waiting in found if waiting is not None
    )  # fmt: skip


def _ran(state: Json) -> tuple[Ran, ...]:
    """The time in a state; none if it is not said, as of a container on a node that was lost."""
    for kind in ("running", "terminated"):
        one = state.get(kind)
        if one is not None and one.get("startedAt"):
            return (Ran(str(one["startedAt"]), str(one["finishedAt"]) if one.get("finishedAt") else None),)
    return ()


def _terminated(state: Json) -> Terminated | None:
    if (ended := state.get("terminated")) is None:
        return None
    code = ended.get("exitCode")
    return Terminated(
        None if code is None else int(code), str(ended.get("reason") or ""), str(ended.get("message") or ""),
        str(ended.get("finishedAt") or ""),
    )  # fmt: skip
