"""News of a training's queue, as Kueue tells it to the launcher. Each has the time at which Kueue did it."""

from __future__ import annotations

from typing import Literal

from llm.runs.event_kinds.event import Event


class Queued(Event):
    """The training waits in its queue."""

    kind: Literal["queued"] = "queued"
    queue: str
    """Name of the LocalQueue."""
    why: str = ""
    """The thing that it waits for, mostly in Kueue's words; empty: not known."""
    place: int | None = None
    """Place among those that wait, the first is 1; null: not known."""
    again: bool = False
    """Whether it had been admitted before."""


class Admitted(Event):
    """The queue has let the training start."""

    kind: Literal["admitted"] = "admitted"
    queue: str
    """Name of the LocalQueue."""
    cluster_queue: str | None = None
    """Name of the ClusterQueue whose quota it uses."""
    seconds: float | None = None
    """Time that it waited."""


class Evicted(Event):
    """Kueue has stopped the training; it goes on when its queue admits it again."""

    kind: Literal["evicted"] = "evicted"
    queue: str
    """Name of the LocalQueue."""
    reason: str
    """Kueue's word: `Preempted`, `PodsReadyTimeout`, `ClusterQueueStopped`, …"""
    message: str = ""
    """Kueue's words."""
    by: str | None = None
    """The work that needs its place: a job of this namespace, else the ClusterQueue of that work; null: not known."""
