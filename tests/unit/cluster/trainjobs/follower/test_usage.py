"""The uses of a training's pods: tables of looks, and what is told after the last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llm.cluster.pods import Pod, Ran, read_pod
from llm.cluster.trainjobs.follower.endings import ATTEMPT, INDEX
from llm.cluster.trainjobs.follower.usage import Account, account_so_far, count_pods
from llm.runs.event_kinds import PodRuns, PodUsed, Usage
from tests.unit.cluster.conftest import SPEC

START = datetime(2026, 11, 24, 23, tzinfo=UTC)
RESOURCES = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"cpu": "2", "nvidia.com/gpu": "4"}}


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(uid: str, *ran: tuple[float, float | None], **changes: Any) -> Pod:
    times = tuple(Ran(at(begun), None if ended is None else at(ended)) for begun, ended in ran)
    labels = {INDEX: "1", ATTEMPT: "2"}
    made = Pod(f"pod-{uid}", "ml", "Running", "", False, "node-1", labels, uid=uid, ran=times,
               requests=RESOURCES["requests"], limits=RESOURCES["limits"])  # fmt: skip
    return replace(made, **changes)


def look(account: Account, second: float, *pods: Pod) -> tuple[Account, list[Usage]]:
    return count_pods(account, SPEC, pods, START + timedelta(seconds=second))


def told(*looks: tuple[float, list[Pod]], account: Account | None = None) -> list[tuple[str, str, float, float | None]]:
    """What all looks tell: kind, uid, start and end in seconds."""
    account = account or Account()
    found = []
    for second, pods in looks:
        account, events = look(account, second, *pods)
        found += events
    zero = START.timestamp()
    return [
        (one.kind, one.uid or "", one.started - zero, one.ended - zero if isinstance(one, PodUsed) else None)
        for one in found
    ]


def test_an_event_says_what_the_pod_asks_for_and_whose_it_is():
    _, (event,) = look(Account(), 9, pod("a", (3, None), labels={INDEX: "1", ATTEMPT: "2", "team": "speech"}))
    zero = START.timestamp()
    assert event == PodRuns(
        time=zero + 9, step="train", pod="pod-a", uid="a", node=1, attempt=2, started=zero + 3, cpu=0.5,
        memory_bytes=2 << 30, accelerators={"nvidia.com/gpu": 4.0}, team="speech",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "team"),
    [({}, "platform"), ({"cost-centre": "speech"}, "speech"), ({"team": "other"}, "platform")],
    ids=["none", "its own", "another label"],
)
def test_a_pod_without_the_label_is_of_the_team_of_the_step(labels: dict[str, str], team: str):
    spec = replace(SPEC, team_label="cost-centre", team="platform")
    _, (event,) = count_pods(Account(), spec, [pod("a", (3, None), labels=labels)], START)
    assert event.team == team


@pytest.mark.parametrize(
    ("looks", "events"),
    [
        ([(5, [pod("a", (3, None))]), (6, [pod("a", (3, None))]), (9, [pod("a", (3, 8))]), (10, [pod("a", (3, 8))])],
         [("pod_runs", "a", 3, None), ("pod_used", "a", 3, 8)]),
        ([(9, [pod("a", (3, 8))])], [("pod_used", "a", 3, 8)]),
        ([(5, [pod("a", (3, None))]), (9, [pod("a", (3, 8), (9, None))]), (12, [pod("a", (9, 11))])],
         [("pod_runs", "a", 3, None), ("pod_used", "a", 3, 8), ("pod_runs", "a", 9, None), ("pod_used", "a", 9, 11)]),
        ([(5, [pod("a", (3, None))]), (9, []), (10, [])], [("pod_runs", "a", 3, None), ("pod_used", "a", 3, 9)]),
        ([(5, [pod("a", (3, None))]), (9, [pod("b", (8, None))])],
         [("pod_runs", "a", 3, None), ("pod_runs", "b", 8, None), ("pod_used", "a", 3, 9)]),
        ([(5, [pod("a", (3, None))]), (9, [pod("a", (3, None), phase="Failed", reason="NodeLost")])],
         [("pod_runs", "a", 3, None), ("pod_used", "a", 3, 9)]),
        ([(5, [pod("a", (3, None))]), (9, [pod("a", phase="Failed", reason="Evicted")])],
         [("pod_runs", "a", 3, None), ("pod_used", "a", 3, 9)]),
        ([(5, [pod("a")]), (9, [])], []),
        ([(5, [pod("a", (3, 4), name="p")]), (6, [pod("b", (3, None), name="p")])],
         [("pod_used", "a", 3, 4), ("pod_runs", "b", 3, None)]),
    ],
    ids=["runs and ends", "ended before the first look", "restarted in place", "gone", "a restart with new pods",
         "its node is lost", "evicted, and its times are lost", "never ran", "another pod of the same name"],
)  # fmt: skip
def test_each_start_of_a_container_is_told_once(looks: Any, events: Any):
    assert told(*looks) == events


def test_a_launcher_that_comes_later_tells_no_end_again_and_sees_those_that_nobody_told():
    account, first = look(Account(), 5, pod("a", (3, 4)), pod("b", (3, None)))
    assert [event.kind for event in first] == ["pod_used", "pod_runs"]
    events = told((9, [pod("a", (3, 4)), pod("b", (3, 8)), pod("c", (3, None))]), account=account_so_far(first))
    assert events == [("pod_used", "b", 3, 8), ("pod_runs", "c", 3, None)]
    assert account.running.keys() == {first[1].key}


@pytest.mark.parametrize(
    ("status", "ran"),
    [
        ({"state": {"running": {"startedAt": at(3)}}}, (Ran(at(3), None),)),
        ({"state": {"terminated": {"exitCode": 1, "startedAt": at(3), "finishedAt": at(8)}}}, (Ran(at(3), at(8)),)),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}},
          "lastState": {"terminated": {"exitCode": 1, "startedAt": at(3), "finishedAt": at(8)}}}, (Ran(at(3), at(8)),)),
        ({"state": {"running": {"startedAt": at(9)}},
          "lastState": {"terminated": {"exitCode": 1, "startedAt": at(3), "finishedAt": at(8)}}},
         (Ran(at(3), at(8)), Ran(at(9), None))),
        ({"state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None,
                                   "finishedAt": None}}}, ()),
        ({"state": {"waiting": {}}}, ()),
    ],
    ids=["runs", "ended", "waits to start again", "started again", "unknown", "waits"],
)  # fmt: skip
def test_a_pod_says_when_its_container_ran(status: dict[str, Any], ran: tuple[Ran, ...]):
    document = {
        "metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "node"}]},
        "status": {"containerStatuses": [{"name": "sidecar", "state": {"running": {"startedAt": at(1)}}},
                                         {"name": "node", **status}]},
    }  # fmt: skip
    found = read_pod(document, "node")
    assert (found.uid, found.ran) == ("u", ran)
