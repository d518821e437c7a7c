"""What keeps a training from starting, as the scheduler, the kubelet and the controllers say it.

Each obstacle has its own patience: a node may yet come and a quota be freed, an image that no server has will not be
pushed for us, and a name that is no name never becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from llm.kubernetes.api import Json
from llm.kubernetes.objects import time_of_event
from llm.kubernetes.watch import pods as of

NEVER_PULLED = frozenset({"ErrImageNeverPull", "InvalidImageName"})
NOT_PULLED = frozenset({"ErrImagePull", "ImageInspectError", "ImagePullBackOff", "RegistryUnavailable"})
NOT_CONFIGURED = frozenset({"CreateContainerConfigError", "CreateContainerError"})
NOT_MADE = frozenset(
    {"FailedCreate", "HeadlessServiceCreationFailed", "JobCreationFailed", "TrainJobResourcesCreationFailed"}
)
NOT_PREPARED = frozenset({"FailedAttachVolume", "FailedCreatePodSandBox", "FailedMount"})

PULL_SECONDS = 60.0
"""A registry may be busy for a moment."""
CONFIGURATION_SECONDS = 10.0
"""A Secret may be made a moment after us; a webhook may be starting."""
QUIET_SECONDS = 10.0
"""How long no pods at all are nothing to speak of."""
RECENT_SECONDS = 180.0
"""A kubelet that fails to prepare a pod says so every two minutes at least; an older word is of the past."""
_INSUFFICIENT = re.compile(r"\d+ Insufficient ([\w./-]*\w)")
_QUOTA = re.compile(r"exceeded quota: ([\w.-]+), requested: ([^,]+(?:,[^ ]+)*)")
_FINAL = ("violates PodSecurity", "denied the request", " is invalid")


@dataclass(frozen=True)
class Obstacle:
    """Something that is in the way."""

    kind: str
    """What its time is counted for: its words may change while it stands."""
    summary: str
    details: tuple[str, ...]
    patience_seconds: float
    quiet_seconds: float = 0.0
    """How long it is not told."""


def in_the_way_of(pods: Sequence[Json], pool: str, patience_seconds: float) -> Obstacle | None:
    """What keeps a pod that exists from starting; the obstacle with the least patience if there are several."""
    found = [*_images(pods), *_configuration(pods), *_scheduling(pods, pool, patience_seconds)]
    return min(found, key=lambda obstacle: obstacle.patience_seconds, default=None)


def to_making(events: Iterable[Json], since: str, name: str, patience_seconds: float) -> Obstacle:
    """What keeps pods from being made, by the warnings since a time (RFC 3339, UTC)."""
    said = [event for event in events if event.get("reason") in NOT_MADE and time_of_event(event) >= since]
    if not said:
        return Obstacle(
            "silence", f"TrainJob {name} has not got all its pods, and no controller says why",
            ("Are the controllers of Kubeflow Trainer and JobSet running?",
             f"To look: kubectl describe trainjob {name}"),
            patience_seconds, QUIET_SECONDS,
        )  # fmt: skip
    words = str(said[-1].get("message") or "").removeprefix("Error creating: ")
    if (quota := _QUOTA.search(words)) is not None:
        resources = ", ".join(part.partition("=")[0] for part in quota[2].split(","))
        return Obstacle(
            "quota", f"the namespace's quota {quota[1]} has no room for the training: short of {resources}",
            (words,
             "Wait for others to end, ask for less (training.parallel.nodes, training.pool), or raise the quota."),
            patience_seconds,
        )  # fmt: skip
    is_final = any(sign in words for sign in _FINAL)
    return Obstacle(
        "refusal", f"the cluster refuses the pods of TrainJob {name}", (words, "The pool's definition must change."),
        CONFIGURATION_SECONDS if is_final else patience_seconds,
    )  # fmt: skip


def to_preparing(events: Iterable[Json], pod: Json, patience_seconds: float) -> Obstacle | None:
    """What keeps a node from preparing a pod (its volumes, its network), by the warnings about the pod."""
    lately = (datetime.now(UTC) - timedelta(seconds=RECENT_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = [event for event in events if event.get("reason") in NOT_PREPARED and time_of_event(event) >= lately]
    if not said:
        return None
    words = str(said[-1].get("message") or "")
    return Obstacle(
        "preparation", f"the node of pod {of.name_of(pod)} cannot prepare it: {said[-1]['reason']}",
        (words, "The pool names a volume, a Secret or a ConfigMap that is not there, or the node is ill."),
        patience_seconds,
    )  # fmt: skip


def _images(pods: Iterable[Json]) -> Iterable[Obstacle]:
    for pod in pods:
        reason, message = of.waiting(pod)
        if reason in NEVER_PULLED | NOT_PULLED:
            yield Obstacle(
                "image", f"the training's image {of.image_of(pod)} cannot be had",
                (f"pod {of.name_of(pod)}: {reason}: {message}",
                 "See that the registry has that tag or digest, and that the pool may pull it (image.pullSecrets)."),
                0.0 if reason in NEVER_PULLED else PULL_SECONDS,
            )  # fmt: skip


def _configuration(pods: Iterable[Json]) -> Iterable[Obstacle]:
    for pod in pods:
        reason, message = of.waiting(pod)
        if reason in NOT_CONFIGURED:
            yield Obstacle(
                "configuration", f"the training's container cannot be made: {message or reason}",
                (f"pod {of.name_of(pod)}: {reason}",
                 "Make what is missing in this namespace, or change the values of gristmill-platform."),
                CONFIGURATION_SECONDS,
            )  # fmt: skip


def _scheduling(pods: Sequence[Json], pool: str, patience_seconds: float) -> Iterable[Obstacle]:
    waiting = [(pod, reason) for pod in pods if (reason := of.unschedulable(pod)) is not None]
    if not waiting:
        return
    pod, reason = waiting[0]
    words = reason.partition(". ")[0].rstrip(".")  # what follows is about preemption
    short = sorted({resource for _, said in waiting for resource in _INSUFFICIENT.findall(said)})
    what = f"short of {', '.join(short)}" if short else words.partition("available: ")[2] or words
    yield Obstacle(
        "room", f"pool {pool} has no room for the training: {what}",
        (f"{len(waiting)} of {len(pods)} pods wait for a node, each asking for {of.asks_for(pod)}",
         f"the scheduler says: {words}",
         "Ask for less (training.parallel.nodes, another training.pool), or let an administrator add nodes to the"
          " pool."),
        patience_seconds,
    )  # fmt: skip
