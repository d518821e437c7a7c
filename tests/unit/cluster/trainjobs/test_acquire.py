"""Who may begin a training: it is created, adopted or replaced; of several at the same work the first goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llm.cluster.trainjobs.acquire import why_replace
from llm.cluster.trainjobs.trainjob import Owner, manifest
from llm.errors import BusyError, ServiceError, UserError
from llm.runs.event_kinds import Progress, TrainJobBegun
from llm.runs.events import EventLog
from tests.fakes.cluster import FakeCluster, Json, Training
from tests.unit.cluster.conftest import IMAGE, NAME, SPEC, Run, told

OURS = manifest(SPEC, "ml", IMAGE, None)
BUSY = r"(?s)run other trains the same already, as TrainJob ml/other-.*cancel other"


def there(*conditions: str, going: bool = False, image: str = IMAGE, **changes: Any) -> Json:
    """A TrainJob of our name that exists."""
    job = manifest(replace(SPEC, **changes), "ml", image, None)
    job["status"] = {"conditions": [{"type": one, "status": "True"} for one in conditions]}
    if going:
        job["metadata"]["deletionTimestamp"] = "2026-11-24T23:00:00Z"
    return job


@pytest.mark.parametrize(
    ("job", "replace_complete", "why"),
    [
        (there(), True, None),
        (there("Suspended"), True, None),
        (there("Complete"), False, None),
        (there("Complete"), True, f"an earlier TrainJob {NAME} is complete; a new one replaces it"),
        (there("Failed"), False, f"an earlier TrainJob {NAME} has failed; a new one replaces it"),
        (there("Failed", nodes=1), False, f"an earlier TrainJob {NAME} has failed; a new one replaces it"),
        (there(going=True), False, f"waiting until an earlier TrainJob {NAME} is gone"),
        (there("Complete", going=True), False, f"waiting until an earlier TrainJob {NAME} is gone"),
    ],
)  # fmt: skip
def test_one_that_is_there_is_adopted_unless_there_is_a_reason_to_replace_it(
    job: Json, replace_complete: bool, why: str | None
):
    assert why_replace(job, OURS, replace_complete=replace_complete) == why


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (there(nodes=1), "numNodes"),
        (there(image="other:1"), "image"),
        (there("Complete", command=("true",)), "command"),
    ],
)
def test_one_that_asks_for_something_else_is_refused(job: Json, field: str):
    with pytest.raises(
        UserError,
        match=rf"(?s)two runs with one name: TrainJob ml/{NAME} of run demo exists already.* differs in"
        rf" trainer\.{field};.*run\.name=.*gristmill cancel demo",
    ):
        why_replace(job, OURS, replace_complete=True)


def ends(training: Training) -> None:
    training.run_pods()
    training.after(2, training.succeed)


@pytest.fixture
def other(cluster: FakeCluster) -> Training:
    """A TrainJob of another run at the same work, made in the same second as ours."""
    cluster.script = ends
    return cluster.create(manifest(replace(SPEC, run="other"), "ml", IMAGE, None))


@pytest.mark.parametrize("second", ["2026-11-24T22:59:59Z", "2026-11-24T23:00:00Z"], ids=["earlier", "at once"])
def test_of_two_runs_at_the_same_work_ours_gives_way_unless_it_is_surely_the_first(
    cluster: FakeCluster, run: Run, other: Training, second: str
):
    other.job["metadata"]["creationTimestamp"] = second
    with pytest.raises(BusyError, match=BUSY):
        run()
    assert list(cluster.trainjobs()) == [other.name]
    assert "deletionTimestamp" not in other.job["metadata"]


def test_of_two_runs_at_the_same_work_the_earlier_goes_on(cluster: FakeCluster, run: Run, other: Training):
    other.job["metadata"]["creationTimestamp"] = "2999-01-01T00:00:00Z"
    run()


def test_another_run_whose_pods_may_still_save_is_not_joined(cluster: FakeCluster, run: Run, other: Training):
    other.job["metadata"]["deletionTimestamp"] = "2026-11-24T23:00:00Z"
    with pytest.raises(BusyError, match=BUSY):
        run()


def test_another_run_that_has_done_the_same_is_in_nobodys_way(cluster: FakeCluster, run: Run, other: Training):
    other.condition("Complete")
    run()


def test_one_that_is_adopted_gives_way_too(cluster: FakeCluster, run: Run, other: Training):
    cluster.create(OURS)  # by a launcher that died before it looked
    with pytest.raises(BusyError, match=BUSY):
        run()
    assert NAME in cluster.made("DELETE")[0]


def test_where_it_cannot_be_seen_whether_another_is_at_the_same_work_nothing_is_left_behind(
    cluster: FakeCluster, run: Run
):
    cluster.refuse("GET", r"/trainjobs$", 403, "trainjobs is forbidden")
    with pytest.raises(ServiceError, match="trainjobs is forbidden"):
        run()
    assert not cluster.trainjobs()


def test_a_failed_one_is_deleted_with_its_pods_before_a_new_one_is_made(cluster: FakeCluster, run: Run, log: EventLog):
    failed = cluster.create(manifest(replace(SPEC, nodes=1), "ml", "older:1", None))
    failed.condition("Failed")
    cluster.script, cluster.grace_seconds = ends, 20
    run()
    methods = [method for method, path in cluster.requests if method != "GET"]
    assert methods == ["POST", "DELETE", "POST", "DELETE"]
    assert any("has failed" in message for message in told(log, Progress))


def test_one_that_is_going_is_waited_for(cluster: FakeCluster, run: Run, log: EventLog):
    going = cluster.create(OURS)
    cluster.grace_seconds = 20
    cluster.delete(f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs/{going.name}")
    cluster.grace_seconds, cluster.script = 0, ends
    run()
    assert cluster.clock.now() > 20
    assert log.of_kind(TrainJobBegun)[0].how == "created"


def test_what_others_own_is_left_to_them_when_it_is_complete(cluster: FakeCluster, run: Run):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, Owner("v1", "Pod", "pretrain-x7k2p-1", "p-1")))
    ends(training)
    run()
    assert not cluster.made("DELETE")
