"""News of the training's queue: a pure function of its Workload, of what was said before, and of the time.

An event is known by its kind and by the time at which Kueue did it. So each is said once, also when a second launcher
follows a TrainJob whose first launcher was killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llm.cluster.obstacles import Obstacle
from llm.cluster.queues.workload import LIMIT_RANGE, Workload
from llm.runs.event_kinds import Admitted, Event, Evicted, Queued

QUEUE_EVERY_SECONDS = 3.0
REASON_SECONDS = 10.0
"""Kueue says why it holds a Workload back a moment after the Workload is there; the wait is said then at the latest."""
PROGRESS_EVERY_SECONDS = 30.0
"""Kueue's words change with each job that comes or goes."""
TRIES = 5
"""Looks for the admission of a training that runs; an account that may not see Workloads never finds it."""
Told = frozenset[tuple[str, float]]


@dataclass(frozen=True)
class QueueState:
    """Facts about the queue that a follower knows from its earlier looks."""

    told: Told = frozenset()
    """Kind and time of the events that the run's log has."""
    is_in_kueue: bool = False
    """Whether its Workload has been seen."""
    read_at: float | None = None
    waits_unsaid_since: float | None = None
    """When a wait was first seen that is not said yet."""
    tries: int = 0
    """Looks at a training that runs, in search of its admission."""
    was_evicted: bool = False
    words: str = ""
    """How the training waits, in a line; empty: it does not, or its Workload cannot be seen."""
    words_at: float | None = None
    place: int | None = None
    has_reason: bool = False
    """Whether those words say why."""
    hopeless: Workload | None = None
    """The Workload, if its queue will never admit it."""


def told_already(events: Iterable[Event]) -> Told:
    """The news of the queue in a run's log."""
    return frozenset((event.kind, event.time) for event in events if isinstance(event, Admitted | Evicted | Queued))


def is_due(state: QueueState, now: float, *, is_suspended: bool, has_queue: bool) -> bool:
    """Whether to read the Workload now: while the TrainJob is suspended, and until its admission is said."""
    if not is_suspended and (not (has_queue or state.is_in_kueue) or state.tries >= TRIES):
        return False
    return state.read_at is None or now - state.read_at >= QUEUE_EVERY_SECONDS


def take_in(
    state: QueueState, seen: Workload | None, now: float, *, is_suspended: bool
) -> tuple[QueueState, list[Event]]:
    """The state after a look at the Workload (None: it cannot be seen), and the events to tell, oldest first."""
    tries = 0 if is_suspended else state.tries + 1
    state = replace(_words(state, seen if is_suspended else None, now), read_at=now, tries=tries)
    if seen is None:
        return state, []
    state = replace(state, is_in_kueue=True)
    found: list[Event] = []
    if seen.evicted is not None and seen.is_evicted:
        state = replace(state, was_evicted=True)
        found.append(_evicted(seen))
    if seen.is_admitted and seen.admitted is not None:
        state = replace(state, tries=TRIES, waits_unsaid_since=None)
        found.append(_admitted(seen, state))
    elif not seen.is_ending:
        since = now if state.waits_unsaid_since is None else state.waits_unsaid_since
        state = replace(state, waits_unsaid_since=since)
        if seen.waits_for or now - since >= REASON_SECONDS:
            found.append(_queued(seen, state))
    new = [event for event in found if (event.kind, event.time) not in state.told]
    return replace(state, told=state.told | told_already(new)), new


def _words(state: QueueState, seen: Workload | None, now: float) -> QueueState:
    """The state with the words about a wait: new ones for a new place, else now and then."""
    if seen is None or seen.is_admitted:
        return replace(state, words="", words_at=None, place=None, hopeless=None)
    state = replace(state, hopeless=seen if seen.is_hopeless else None)
    is_fresh = state.words_at is not None and now - state.words_at < PROGRESS_EVERY_SECONDS
    if is_fresh and seen.place == state.place and (state.has_reason or not seen.waits_for):
        return state
    return replace(state, words=_progress(seen), words_at=now, place=seen.place, has_reason=bool(seen.waits_for))


def _progress(seen: Workload) -> str:
    place = f", place {seen.place}" if seen.place is not None else ""
    why = f": {seen.waits_for}" if seen.waits_for else ""
    return f"queued in {seen.queue}{place}{why}"


def in_the_way(seen: Workload | None, patience_seconds: float) -> Obstacle | None:
    """The obstacle of a Workload that its queue will never admit; None for None."""
    if seen is None:
        return None
    advice = "Name another queue (training.queue), ask for less (training.parallel.nodes, training.pool), or let an"
    advice += " administrator change the queue."
    if LIMIT_RANGE in seen.waits_for:
        advice = (
            "Change the resources of the pool (pools.NAME.resources of gristmill-platform), or let an administrator"
        )
        advice += " change the LimitRange of the namespace."
    details = (f"Kueue says: {seen.waits_for}", advice)
    return Obstacle("queue", f"queue {seen.queue} can never start the training", details, patience_seconds)


def _queued(seen: Workload, state: QueueState) -> Queued:
    return Queued(
        time=seen.waits_since, queue=seen.queue, why=seen.waits_for, place=seen.place, again=state.was_evicted
    )


def _admitted(seen: Workload, state: QueueState) -> Admitted:
    assert seen.admitted is not None
    waits = [time for kind, time in state.told if kind == "evicted" and time <= seen.admitted.since]
    waited = seen.admitted.since - max([seen.created, *waits])
    return Admitted(
        time=seen.admitted.since, queue=seen.queue, cluster_queue=seen.cluster_queue, seconds=max(0.0, waited)
    )


def _evicted(seen: Workload) -> Evicted:
    assert seen.evicted is not None
    return Evicted(
        time=seen.evicted.since, queue=seen.queue, reason=seen.evicted.reason, message=seen.evicted.message,
        by=seen.preemptor,
    )  # fmt: skip
