"""Who may begin a training: of several at the same work the first, and who cleans up behind one that is complete."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from llm.cluster.trainjobs.trainjob import Owner, manifest
from llm.errors import BusyError, ServiceError
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from tests.kubernetes_case import FakeKubernetes, now
from tests.unit.cluster.conftest import IMAGE, SPEC, Follow
from tests.unit.cluster.trainjobs.test_run_trainjob import NAME, steps, told, works


@pytest.fixture
def other(cluster: FakeKubernetes) -> dict[str, Any]:
    """An earlier TrainJob of another run at the same work."""
    made = cluster.create(manifest(replace(SPEC, run="other"), "ml", IMAGE, None))
    made["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    return made


BUSY = r"(?s)run other trains the same already, as TrainJob ml/other-.*cancel other"


def test_of_two_runs_at_the_same_work_the_later_makes_way(cluster: FakeKubernetes, run: Follow, other: dict[str, Any]):
    with pytest.raises(BusyError, match=BUSY):
        run()
    assert len(cluster.made("DELETE")) == 1
    assert "deletionTimestamp" not in other["metadata"]


def test_of_two_runs_in_one_second_both_make_way_rather_than_none(
    cluster: FakeKubernetes, run: Follow, other: dict[str, Any]
):
    other["metadata"]["creationTimestamp"] = now()
    while now() == other["metadata"]["creationTimestamp"]:  # at the start of a second, so that ours is made in it
        time.sleep(0.001)
    other["metadata"]["creationTimestamp"] = now()
    with pytest.raises(BusyError, match=BUSY):
        run()


def test_another_run_whose_pods_may_still_save_is_not_joined(
    cluster: FakeKubernetes, run: Follow, other: dict[str, Any]
):
    cluster.grace_seconds = 60
    cluster.delete(other["metadata"]["name"])
    with pytest.raises(BusyError, match=BUSY):
        run()


def test_another_run_that_has_done_the_same_is_in_nobodys_way(
    cluster: FakeKubernetes, run: Follow, other: dict[str, Any]
):
    cluster.scripts[0].run_pods()
    cluster.scripts[0].succeed()
    cluster.script = works
    run()


def test_one_that_is_adopted_makes_way_too(cluster: FakeKubernetes, run: Follow, other: dict[str, Any]):
    cluster.create(manifest(SPEC, "ml", IMAGE, None))  # by a launcher that was cut off before it looked
    with pytest.raises(BusyError, match=BUSY):
        run()
    assert NAME in cluster.made("DELETE")[0]


def test_where_it_cannot_be_seen_whether_another_is_at_the_same_work_nothing_is_left_behind(
    cluster: FakeKubernetes, run: Follow
):
    cluster.refusals.append(("GET", r"/trainjobs(\?|$)", 403, "trainjobs is forbidden"))
    with pytest.raises(ServiceError, match="trainjobs is forbidden"):
        run()
    assert len(cluster.made("DELETE")) == 1


def test_what_others_own_is_left_to_them_when_it_is_complete(cluster: FakeKubernetes, run: Follow):
    owner = Owner("v1", "Pod", "pretrain-x7k2p-1", "p-1")
    cluster.create(manifest(SPEC, "ml", IMAGE, owner))
    works(cluster.scripts[0])
    run()
    assert not cluster.made("DELETE")


def test_a_complete_training_is_complete_though_its_trainjob_cannot_be_deleted(
    cluster: FakeKubernetes, run: Follow, log: EventLog
):
    cluster.refusals.append(("DELETE", "trainjobs", 403, "trainjobs is forbidden"))
    cluster.script = works
    run()
    (warning,) = told(log, Warned)
    assert f"TrainJob {NAME} is complete and could not be deleted" in warning


def test_of_two_runs_at_the_same_work_the_earlier_goes_on(cluster: FakeKubernetes, run: Follow, log: EventLog):
    other = cluster.create(manifest(replace(SPEC, run="other"), "ml", "gristmill/train:1", None))
    other["metadata"]["creationTimestamp"] = "2999-01-01T00:00:00Z"
    cluster.script = works
    run()
    assert steps(log) == list(range(5))
