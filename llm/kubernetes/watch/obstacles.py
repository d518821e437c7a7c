"""Watching for what is in a training's way: each obstacle is told once, and waited for as long as its kind deserves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from llm.kubernetes.api import Api, Json
from llm.kubernetes.objects import warnings_of
from llm.kubernetes.trainjob import NODE, TrainJobSpec
from llm.kubernetes.watch import pods as of
from llm.kubernetes.watch.obstacle import Obstacle, in_the_way_of, to_making, to_preparing

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
