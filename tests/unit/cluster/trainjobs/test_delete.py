"""Deleting the trainings of a run, and seeing when they are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm.cluster.trainjobs.delete import SETTLE_SECONDS, delete_trainings
from llm.cluster.trainjobs.trainjob import manifest
from llm.errors import ServiceError
from tests.fakes.cluster import FakeCluster, Training
from tests.unit.cluster.conftest import IMAGE, SPEC


def create(cluster: FakeCluster, run: str, task: str = "train") -> Training:
    training = cluster.create(manifest(replace(SPEC, run=run, task=task), "ml", IMAGE, None))
    training.run_pods()
    return training


def test_all_trainings_of_the_run_are_deleted_and_waited_for_and_no_others(cluster: FakeCluster):
    mine, other = [create(cluster, "demo"), create(cluster, "demo", "tune")], create(cluster, "demo-2")
    cluster.grace_seconds = 20
    told: list[str] = []
    assert sorted(delete_trainings(cluster.api(), "demo", told.append)) == sorted(one.name for one in mine)
    assert list(cluster.trainjobs()) == [other.name]
    assert len(cluster.pods()) == 2
    assert told == [f"waiting for 4 of the pods of {', '.join(one.name for one in mine)}, which have 1 s to save"]
    assert cluster.clock.now() >= 20 + SETTLE_SECONDS


def test_a_run_with_an_odd_name_is_found_by_it(cluster: FakeCluster):
    name = "Lauf Nr. 7 " + "x" * 80
    assert delete_trainings(cluster.api(), name) == [] != [create(cluster, name).name]
    assert len(delete_trainings(cluster.api(), name)) == 1


def test_pods_that_come_after_the_trainjob_went_are_waited_for_too(cluster: FakeCluster):
    """Trainer restores the JobSet of a TrainJob that is being deleted; the garbage collector deletes it again."""
    training = create(cluster, "demo")
    training.after(1, training.run_pods)
    training.after(30, lambda: [cluster.objects.pop(path) for path in list(cluster.objects) if "/pods/" in path])
    delete_trainings(cluster.api(), "demo")
    assert cluster.clock.now() >= 30
    assert not cluster.pods()


def test_another_trainjob_of_the_name_is_not_waited_for(cluster: FakeCluster):
    training = create(cluster, "demo")
    training.after(1, create, cluster, "demo")
    delete_trainings(cluster.api(), "demo")
    assert cluster.clock.now() < 10
    assert training.name in cluster.trainjobs()


def test_a_run_without_trainings_and_a_cluster_without_trainer_have_none(cluster: FakeCluster):
    assert delete_trainings(cluster.api(), "demo") == []
    cluster.refuse("GET", "trainjobs", 404)
    assert delete_trainings(cluster.api(), "demo") == []


def test_pods_that_outlast_their_grace_are_named(cluster: FakeCluster):
    training = create(cluster, "demo")
    cluster.grace_seconds = 3600
    cluster.pods()[training.pod(0)]["spec"]["nodeName"] = "gpu-7"
    with pytest.raises(ServiceError, match=rf"(?s)after 1 min 01 s.*pod {training.pod(0)} on node gpu-7 .*--force"):
        delete_trainings(cluster.api(), "demo")
