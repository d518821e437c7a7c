"""Obstacles that keep a pod from starting and do not go away by themselves, and the patience with each kind.

A node may yet come and a quota may become free. An image that no registry has, and a Secret that is not there, do not
come by themselves: patience with those is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llm.cluster.pods import Pod, Waiting

NEVER_PULLED = frozenset({"ErrImageNeverPull", "InvalidImageName"})
NOT_PULLED = frozenset({"ErrImagePull", "ImageInspectError", "ImagePullBackOff", "RegistryUnavailable"})
NOT_CONFIGURED = frozenset({"CreateContainerConfigError", "CreateContainerError"})
PULL_SECONDS = 60.0
"""A registry may be busy for a moment."""
CONFIGURATION_SECONDS = 10.0
"""A Secret may be made a moment after us; a webhook may be starting."""
Key = tuple[str, str]
"""The pod (or the training) that an obstacle is about, and its kind."""


@dataclass(frozen=True)
class Obstacle:
    """Something that is in the way."""

    kind: str
    """Its time is counted by kind, since its words may change meanwhile."""
    summary: str
    details: tuple[str, ...]
    patience_seconds: float
    quiet_seconds: float = 0.0
    """Seconds for which nothing is said about it."""


@dataclass(frozen=True)
class Advice:
    """Advice for a user about a container that does not start."""

    image: str
    configuration: str


def container_obstacle(pod: Pod, waiting: Waiting, who: str, advice: Advice) -> Obstacle | None:
    """The obstacle that keeps a container of the pod from starting; None if it is a matter of moments.

    `who` names the work for the user: "the training", "the step gate".
    """
    said = ": ".join(part for part in (waiting.reason, waiting.message) if part)
    where = f"pod {pod.namespace}/{pod.name}" if pod.namespace else f"pod {pod.name}"
    if waiting.reason in NEVER_PULLED | NOT_PULLED:
        return Obstacle(
            "image", f"{who} cannot start: the image {waiting.image or pod.image} cannot be pulled",
            (f"{where}: {said}", advice.image), 0.0 if waiting.reason in NEVER_PULLED else PULL_SECONDS,
        )  # fmt: skip
    if waiting.reason in NOT_CONFIGURED:
        return Obstacle(
            "configuration", f"{who} cannot start: its container cannot be made: {waiting.message or waiting.reason}",
            (f"{where}, image {waiting.image or pod.image}: {waiting.reason}", advice.configuration),
            CONFIGURATION_SECONDS,
        )  # fmt: skip
    return None


@dataclass(frozen=True)
class ObstacleClock:
    """The time that each obstacle has been in the way; `see` returns a new clock.

    An obstacle that is not seen for `gap_seconds` is gone. Until then it counts as still there: a kubelet's state
    changes back and forth while it tries again.
    """

    gap_seconds: float
    since: Mapping[Key, float] = field(default_factory=dict)
    seen: Mapping[Key, float] = field(default_factory=dict)

    def see(self, keys: Iterable[Key], now: float) -> ObstacleClock:
        """The clock after a look at `now` (seconds) that found these obstacles."""
        since, seen = dict(self.since), dict(self.seen)
        for key in keys:
            if key not in since or now - seen[key] > self.gap_seconds:
                since[key] = now
            seen[key] = now
        return ObstacleClock(self.gap_seconds, since, seen)

    def lasts(self, key: Key) -> float:
        """Seconds from the first look that found it to the last."""
        return self.seen[key] - self.since[key]
