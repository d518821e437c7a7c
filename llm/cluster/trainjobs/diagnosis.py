"""What keeps a training from starting, as the scheduler, the kubelet and the controllers say it.

Each obstacle has its own patience: a node may yet come and a quota be freed, an image that no server has will not be
pushed for us, and a name that is no name never becomes one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from llm.cluster import pods as of
from llm.cluster.api import Api, Json
from llm.cluster.obstacles import (
    CONFIGURATION_SECONDS,
    NEVER_PULLED,
    NOT_CONFIGURED,
    NOT_PULLED,
    PULL_SECONDS,
    Obstacle,
)
from llm.cluster.pod_requests import time_of_event, warnings_of
from llm.cluster.pods import NODE
from llm.cluster.trainjobs.trainjob import TrainJobSpec

NOT_MADE = frozenset(
    {"FailedCreate", "HeadlessServiceCreationFailed", "JobCreationFailed", "TrainJobResourcesCreationFailed"}
)
NOT_PREPARED = frozenset({"FailedAttachVolume", "FailedCreatePodSandBox", "FailedMount"})

QUIET_SECONDS = 10.0
"""How long no pods at all are nothing to speak of."""
RECENT_SECONDS = 180.0
"""A kubelet that fails to prepare a pod says so every two minutes at least; an older word is of the past."""
_INSUFFICIENT = re.compile(r"\d+ Insufficient ([\w./-]*\w)")
_QUOTA = re.compile(r"exceeded quota: ([\w.-]+), requested: ([^,]+(?:,[^ ]+)*)")
_FINAL = ("violates PodSecurity", "denied the request", " is invalid")
EVENTS_EVERY_SECONDS = 3.0
PREPARATION_SECONDS = 30.0
"""How long a node may prepare a pod before its warnings are looked for; a large image takes longer without one."""
GAP_SECONDS = 5.0
"""An obstacle that is gone for less is still there: a kubelet's state blinks while it tries again."""


class Obstacles:
    """Looks at a training's pods again and again; `look` returns an obstacle when patience with it is at an end."""

    def __init__(self, api: Api, name: str, spec: TrainJobSpec, patience_seconds: float,
                 warn: Callable[[str], None]) -> None:  # fmt: skip
        """Tell `warn` what is in the way of a TrainJob; wait so long for nodes and quotas."""
        self._api, self._name, self._spec, self._warn = api, name, spec, warn
        self._patience_seconds = patience_seconds
        self._since: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._told: set[str] = set()
        self._waits_since: dict[str, float] = {}
        self._events: tuple[float, Obstacle | None] = (0.0, None)

    def look(self, pods: Sequence[Json], created_at: str) -> Obstacle | None:
        """Take in how things stand; returns the obstacle to give up for."""
        now = time.monotonic()
        obstacle = in_the_way_of(pods, self._spec.pool, self._patience_seconds) or self._by_events(
            pods, created_at, now
        )
        if obstacle is None:
            return None
        if now - self._seen.get(obstacle.kind, now) > GAP_SECONDS or obstacle.kind not in self._since:
            self._since[obstacle.kind] = now
        self._seen[obstacle.kind] = now
        lasts = now - self._since[obstacle.kind]
        if lasts >= obstacle.patience_seconds:
            return obstacle
        if lasts >= obstacle.quiet_seconds and obstacle.summary not in self._told:
            self._told.add(obstacle.summary)
            self._warn(f"{obstacle.summary} ({obstacle.details[0]})")
        return None

    def _by_events(self, pods: Sequence[Json], created_at: str, now: float) -> Obstacle | None:
        """What only the controllers' warnings tell, asked for now and then while pods are missing or do not start."""
        missing = len(pods) < self._spec.nodes and not any(of.is_going(pod) for pod in pods)
        slow = self._slow(pods, now)
        if not missing and slow is None:
            self._events = (0.0, None)
            return None
        asked_at, known = self._events
        if now - asked_at >= EVENTS_EVERY_SECONDS or not asked_at:
            known = self._ask(slow if not missing else None, created_at)
            self._events = (now, known)
        return known

    def _ask(self, slow: Json | None, created_at: str) -> Obstacle | None:
        if slow is not None:
            return to_preparing(warnings_of(self._api, of.name_of(slow)), slow, self._patience_seconds)
        events = [*warnings_of(self._api, self._name), *warnings_of(self._api, f"{self._name}-{NODE}-0")]
        return to_making(events, created_at, self._name, self._patience_seconds)

    def _slow(self, pods: Sequence[Json], now: float) -> Json | None:
        """A pod that its node has been preparing for long."""
        waiting = {of.name_of(pod): pod for pod in pods if of.node_of(pod) and not of.has_log(pod)}
        self._waits_since = {name: self._waits_since.get(name, now) for name in waiting}
        return next((pod for name, pod in waiting.items() if now - self._waits_since[name] > PREPARATION_SECONDS), None)


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
