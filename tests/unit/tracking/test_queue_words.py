"""The state of a training in its queue, from the events of its run."""

from __future__ import annotations

import pytest

from llm.runs.event_kinds import Admitted, Event, Evicted, Queued, StepFailed, StepFinished, StepStarted, TrainJobBegun
from llm.tracking.queue_words import state_in_queue

BEGUN = [
    StepStarted(step="train", time=1.0),
    TrainJobBegun(name="t", namespace="ml", how="created", time=2.0),
    Queued(queue="a", why="insufficient quota", place=3, time=3.0),
]
ADMITTED = Admitted(queue="a", cluster_queue="all", seconds=60.0, time=4.0)
EVICTED = Evicted(queue="a", reason="Preempted", message="to make room; more", by="ClusterQueue b", time=5.0)
AGAIN = Queued(queue="a", again=True, time=6.0)
STOPPED = StepFailed(step="train", seconds=1.0, message="stopped", exit_code=75, time=7.0)
ADOPTED = [
    StepStarted(step="train", time=8.0),
    TrainJobBegun(name="t", namespace="ml", how="adopted", time=9.0),
]
PREEMPTED = "preempted in queue a by ClusterQueue b: to make room"


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], []),
        (BEGUN[:2], []),
        (BEGUN, ["waits in queue a, place 3: insufficient quota"]),
        ([*BEGUN, ADMITTED], ["admitted by queue a (ClusterQueue all) after 1 min"]),
        ([*BEGUN, ADMITTED, EVICTED], [PREEMPTED]),
        ([*BEGUN, ADMITTED, EVICTED, AGAIN], [PREEMPTED, "waits again in queue a"]),
        ([*BEGUN, ADMITTED, EVICTED, AGAIN, STOPPED], []),
        ([*BEGUN, ADMITTED, EVICTED, AGAIN, STOPPED, *ADOPTED], [PREEMPTED, "waits again in queue a"]),
        ([*BEGUN, EVICTED, STOPPED, *BEGUN], ["waits in queue a, place 3: insufficient quota"]),
        ([*BEGUN, ADMITTED, StepFinished(step="train", seconds=1.0, time=9.0)], []),
    ],
)
def test_the_state_in_the_queue_is_the_newest_news_with_the_preemption_before_it(
    events: list[Event], words: list[str]
) -> None:
    assert state_in_queue(events) == words
