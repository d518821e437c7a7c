"""The news of a training's queue in words, for its log, for the run's page, and for `gristmill status`."""

from __future__ import annotations

from collections.abc import Iterable

from llm.runs.event_kinds import Admitted, Event, Evicted, Queued, StepFailed, StepFinished, StepStarted, TrainJobBegun
from llm.words import duration

QueueNews = Queued | Evicted | Admitted


def queue_words(event: QueueNews) -> str:
    """One piece of news in a line: that the training waits, that it was stopped and by whom, or that it may run."""
    match event:
        case Queued():
            place = f", place {event.place}" if event.place is not None else ""
            why = f": {event.why}" if event.why else ""
            return f"{'waits again' if event.again else 'waits'} in queue {event.queue}{place}{why}"
        case Evicted():
            return _stopped_by_kueue(event)
        case Admitted():
            whole = f" (ClusterQueue {event.cluster_queue})" if event.cluster_queue else ""
            return f"admitted by queue {event.queue}{whole} after {duration(event.seconds)}"


def state_in_queue(events: Iterable[Event]) -> list[str]:
    """The present state of a run's training in its queue: why it was stopped, if it was, and the newest news.

    Empty if no queue holds it, and once it has ended. A launcher that adopts the training tells no news twice, so those
    of the launcher before count too.
    """
    stopped: Evicted | None = None
    newest: QueueNews | None = None
    runs = True
    for event in events:
        match event:
            case StepStarted(step="train"):
                runs = True
            case StepFinished(step="train") | StepFailed(step="train"):
                runs = False
            case TrainJobBegun(how="created"):
                stopped = newest = None
            case Evicted():
                stopped = newest = event
            case Queued() | Admitted():
                newest = event
    if newest is None or not runs:
        return []
    before = [] if stopped is None or stopped is newest else [queue_words(stopped)]
    return [*before, queue_words(newest)]


def _stopped_by_kueue(event: Evicted) -> str:
    """Who stopped the training, and why: `preempted in queue team-a by ClusterQueue team-b: …`."""
    if event.reason != "Preempted":
        return f"stopped by queue {event.queue} ({event.reason}): {event.message}"
    by = f" by {event.by}" if event.by else ""
    return f"preempted in queue {event.queue}{by}: {event.message.partition('; ')[0]}"
