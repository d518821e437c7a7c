"""What is said of a training's queue: tables of what Kueue says, without a cluster, and each thing once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm.cluster.queues.workload import Condition, Workload, read_workload
from llm.cluster.trainjobs.follower.actions import GiveUp, Say, Tell, Warn
from llm.cluster.trainjobs.follower.decide import State, decide, wanted
from llm.cluster.trainjobs.follower.queue_news import QueueState, told_already
from llm.config.sections.cluster import QUEUE_LABEL
from llm.runs.event_kinds import Admitted, Event, Evicted, Queued
from tests.unit.cluster.trainjobs.follower.test_decide import FOLLOWED, job, of_kind, pending, pod, seen

Json = dict[str, Any]
BUSY = "insufficient unused quota for cpu in flavor default, 1 more needed"
NEVER = (
    "insufficient quota for cpu in flavor default, previously considered podsets requests (0) + current podset request"
    " (9) > maximum capacity (4)"
)
LIMIT_RANGE = (
    "resources didn't satisfy LimitRange constraints: spec.podSets[0].template.spec.containers[0]: Invalid value:"
    ' ["memory"]: requests must not be above the limitRange max'
)
TAINT = "untolerated taint {gpu yes NoSchedule <nil>} in flavor gpu"
NO_QUOTA = "resource nvidia.com/gpu unavailable in ClusterQueue"
SELECTOR = "Workload namespace doesn't match ClusterQueue selector"
PREEMPTED = "Preempted to accommodate a workload (UID: u, JobUID: j) due to reclamation within the cohort"


def says(true: bool, message: str = "", reason: str = "Pending", since: float = 100) -> Condition:
    return Condition(true, reason, message, since)


WAITS = Workload(
    "trainjob-x", "team-a", None, created=90, is_active=True, reserved=says(False, BUSY), admitted=None, evicted=None,
    checks=(),
)  # fmt: skip
RUNS = replace(WAITS, cluster_queue="whole", reserved=says(True, since=130), admitted=says(True, since=131))
STOPS = replace(RUNS, evicted=says(True, PREEMPTED, "Preempted", since=200))
"""Kueue has evicted it, and its pods save."""
AGAIN = replace(STOPS, reserved=says(False, BUSY, since=203), admitted=says(False, since=203))
BACK = replace(
    AGAIN, reserved=says(True, since=260), admitted=says(True, since=261), evicted=says(False, PREEMPTED, since=260)
)


def labelled(suspend: bool) -> Json:
    found = job(suspend=suspend)
    found["metadata"]["labels"] = {QUEUE_LABEL: "team-a"}
    return found


def told(*looks: Workload | None, state: State | None = None, every: float = 3.0) -> tuple[State, list[Event]]:
    """What is told over some looks; a TrainJob is suspended unless its Workload is admitted."""
    state, events = state or State(), list[Event]()
    for number, look in enumerate(looks):
        suspend = look is None or not look.is_admitted
        view = seen(of=labelled(suspend), workload=look, queue_is_read=True)
        state, actions = decide(FOLLOWED, state, view, number * every)
        events += [action.event for action in of_kind(actions, Tell)]
    return state, events


QUEUED = Queued(time=90, queue="team-a", why=BUSY, place=None, again=False)
ADMITTED = Admitted(time=131, queue="team-a", cluster_queue="whole", seconds=41)
EVICTED = Evicted(time=200, queue="team-a", reason="Preempted", message=PREEMPTED, by=None)
QUEUED_AGAIN = Queued(time=200, queue="team-a", why=BUSY, place=None, again=True)
BACK_ADMITTED = Admitted(time=261, queue="team-a", cluster_queue="whole", seconds=61)


def test_a_training_that_is_preempted_is_told_from_its_first_wait_to_its_second_admission():
    looks = [WAITS, WAITS, RUNS, RUNS, STOPS, STOPS, AGAIN, AGAIN, BACK, BACK]
    expected = [QUEUED, ADMITTED, EVICTED, QUEUED_AGAIN, BACK_ADMITTED]
    assert list(map(repr, told(*looks)[1])) == list(map(repr, expected))


def replace_why(event: Queued, why: str) -> Queued:
    return event.model_copy(update={"why": why})


def test_a_launcher_that_follows_another_one_tells_nothing_twice():
    log = [QUEUED, ADMITTED, EVICTED]
    state = State(queue=QueueState(told=told_already(log)))
    assert told(WAITS, RUNS, STOPS, AGAIN, state=state)[1] == [QUEUED_AGAIN]


def test_one_that_is_admitted_at_once_is_told_as_that():
    assert told(RUNS)[1] == [ADMITTED]


def test_a_wait_is_told_when_kueue_has_said_why_or_ten_seconds_later():
    new = replace(WAITS, reserved=None)
    assert told(new, new)[1] == []
    assert told(new, new, WAITS)[1] == [QUEUED]
    assert told(*[new] * 5)[1] == [replace_why(QUEUED, "")]
    after_eviction = replace(AGAIN, reserved=says(False, PREEMPTED, since=203))  # not what it waits for
    assert [event.kind for event in told(after_eviction)[1]] == ["evicted"]


@pytest.mark.parametrize(
    ("workload", "why", "is_hopeless"),
    [
        (WAITS, BUSY, False),
        (replace(WAITS, reserved=says(False, f"couldn't assign flavors to pod set node: {BUSY}.")), BUSY, False),
        (replace(WAITS, reserved=says(False, NEVER)), NEVER, True),
        (replace(WAITS, reserved=says(False, f"{NEVER}, {BUSY}")), f"{NEVER}, {BUSY}", False),  # another flavor
        (replace(WAITS, reserved=says(False, "LocalQueue team-a doesn't exist", "Inadmissible")),
         "LocalQueue team-a doesn't exist", True),
        (replace(WAITS, reserved=says(False, LIMIT_RANGE)), LIMIT_RANGE, True),
        (replace(WAITS, reserved=says(False, TAINT)), TAINT, True),
        (replace(WAITS, reserved=says(False, f"{TAINT}, {BUSY}")), f"{TAINT}, {BUSY}", False),
        (replace(WAITS, reserved=says(False, NO_QUOTA)), NO_QUOTA, True),
        (replace(WAITS, reserved=says(False, SELECTOR)), SELECTOR, True),
        (replace(WAITS, reserved=says(False, "ClusterQueue whole is inactive", "Inadmissible")),
         "ClusterQueue whole is inactive", False),
        (replace(WAITS, is_active=False), "its Workload is deactivated (spec.active: false)", True),
        (replace(WAITS, reserved=says(True), checks=("nodes (Pending)",)),
         "its quota is reserved; it waits for nodes (Pending)", False),
        (replace(WAITS, reserved=None), "", False),
    ],
    ids=["full", "flavors", "never", "never here", "deleted", "LimitRange", "taint", "taint here", "no quota",
         "selector", "stopped", "deactivated", "check", "new"],
)  # fmt: skip
def test_what_it_waits_for_is_said_in_kueues_words(workload: Workload, why: str, is_hopeless: bool):
    assert (workload.waits_for, workload.is_hopeless) == (why, is_hopeless)


@pytest.mark.parametrize("reason", ["PodsReadyTimeout", "ClusterQueueStopped", "LocalQueueStopped", "AdmissionCheck"])
def test_every_other_eviction_is_told_with_its_reason(reason: str):
    (event,) = (e for e in told(replace(STOPS, evicted=says(True, "why", reason, since=200)))[1] if e.kind == "evicted")
    assert isinstance(event, Evicted)
    assert (event.reason, event.message) == (reason, "why")


def test_the_live_line_has_the_place_and_changes_with_it_or_twice_a_minute():
    first = replace(WAITS, place=2)
    state, said = State(), []
    for number in range(21):
        moving = replace(first, reserved=says(False, f"{number} more needed"), place=2 if number < 4 else 1)
        view = seen(of=labelled(True), workload=moving, queue_is_read=True)
        state, actions = decide(FOLLOWED, state, view, number * 3)
        said += of_kind(actions, Say)
    assert said == [
        Say("queued in team-a, place 2: 0 more needed"),
        Say("queued in team-a, place 1: 4 more needed"),
        Say("queued in team-a, place 1: 14 more needed"),
    ]


def test_the_live_line_gets_its_reason_as_soon_as_kueue_says_one():
    state, _ = told(replace(WAITS, reserved=None))
    assert state.progress == "queued in team-a"
    state, _ = told(WAITS, state=state)
    assert state.progress == f"queued in team-a: {BUSY}"


def test_the_words_and_the_obstacle_of_a_wait_end_with_it():
    hopeless = replace(WAITS, reserved=says(False, NEVER))
    state, _ = told(hopeless, RUNS)
    assert (state.queue.words, state.queue.hopeless) == ("", None)
    state, _ = told(None, state=state)  # a person suspends it
    assert state.progress == "queued: the TrainJob is suspended until its queue starts it"


def test_a_wait_without_hope_is_given_up_when_patience_is_at_an_end_and_any_other_is_not():
    hopeless = replace(WAITS, reserved=says(False, NEVER))
    given_up = [of_kind(look_for(hopeless, seconds), GiveUp) for seconds in (597, 600)]
    assert [len(found) for found in given_up] == [0, 1]
    (obstacle,) = (action.obstacle for action in given_up[1])
    assert obstacle.summary == "queue team-a can never start the training"
    assert obstacle.details[0] == f"Kueue says: {NEVER}"
    assert not of_kind(look_for(WAITS, 6000), GiveUp)


def look_for(workload: Workload, seconds: int) -> list[Any]:
    """All that is done while this is seen, read every three seconds."""
    state, done = State(), []
    for now in range(seconds + 1):
        is_read = now % 3 == 0
        view = seen(of=labelled(True), workload=workload if is_read else None, queue_is_read=is_read)
        state, actions = decide(FOLLOWED, state, view, now)
        done += actions
    assert len(of_kind(done, Warn)) == workload.is_hopeless, "it is said once, at the beginning"
    return done


def test_a_workload_that_may_not_be_seen_leaves_the_words_that_there_were():
    state, events = told(None, None)
    assert events == []
    assert state.progress == "queued: the TrainJob is suspended until its queue starts it"


@pytest.mark.parametrize(
    ("suspend", "label", "reads"),
    [(True, True, 34), (True, False, 34), (False, True, 5), (False, False, 0)],
)
def test_the_workload_is_read_now_and_then_while_it_waits_and_not_for_long_when_it_runs(
    suspend: bool, label: bool, reads: int
):
    of, state, count = labelled(suspend) if label else job(suspend=suspend), State(), 0
    for now in range(100):
        first = seen(pod(0), pending(1, node="n"), of=of)
        is_wanted = wanted(FOLLOWED, state, now, first).queue
        count += is_wanted
        state, _ = decide(FOLLOWED, state, replace(first, queue_is_read=is_wanted), now)
    assert count == reads


def test_a_document_of_kueue_is_read():
    condition = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "x",
                 "lastTransitionTime": "2026-11-29T18:00:00Z"}  # fmt: skip
    document = {
        "metadata": {"name": "trainjob-x", "creationTimestamp": "2026-11-29T17:59:00Z"},
        "spec": {"queueName": "team-a", "active": False},
        "status": {
            "conditions": [condition], "admission": {"clusterQueue": "whole"},
            "admissionChecks": [
                {"name": "a", "state": "Ready"}, {"name": "b", "state": "Retry", "message": "no nodes"},
            ],
        },
    }  # fmt: skip
    found = read_workload(document)
    assert found.evicted == Condition(True, "Preempted", "x", found.created + 60)
    assert (found.queue, found.cluster_queue, found.is_active, found.checks) == (
        "team-a", "whole", False, ("b (no nodes)",),
    )  # fmt: skip
    assert read_workload({"metadata": document["metadata"]}).reserved is None


def test_a_wait_that_the_namespaces_limit_range_makes_hopeless_names_what_to_change():
    (given_up,) = of_kind(look_for(replace(WAITS, reserved=says(False, LIMIT_RANGE)), 600), GiveUp)
    assert given_up.obstacle.details[0] == f"Kueue says: {LIMIT_RANGE}"
    assert given_up.obstacle.details[1].startswith("Change the resources of the pool (pools.NAME.resources")
