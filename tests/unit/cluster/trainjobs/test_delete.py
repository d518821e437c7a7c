"""Cancelling a run's trainings."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from llm.cluster.trainjobs import delete as deletion
from llm.cluster.trainjobs.delete import cancel_training
from llm.cluster.trainjobs.trainjob import manifest, trainjob_name
from llm.config import ClusterConfig
from llm.errors import ServiceError
from tests.kubernetes_case import FakeKubernetes
from tests.unit.cluster.conftest import SPEC


def create(cluster: FakeKubernetes, run: str, task: str = "train") -> str:
    cluster.create(manifest(replace(SPEC, run=run, task=task), "ml", "gristmill/train:1", None))
    cluster.scripts[-1].run_pods()
    return trainjob_name(run, task)


def test_all_trainings_of_the_run_are_deleted_and_waited_for_and_no_others(cluster: FakeKubernetes):
    mine, other = [create(cluster, "demo"), create(cluster, "demo", "tune")], create(cluster, "demo-2")
    cluster.grace_seconds = 0.2
    told: list[str] = []
    assert sorted(cancel_training("demo", ClusterConfig(), told.append)) == sorted(mine)
    assert list(cluster.trainjobs) == [other]
    assert len(cluster.pods) == 2
    assert told
    assert told[0].startswith("waiting for 4 of the pods of")


def test_a_run_with_an_odd_name_is_found_by_it(cluster: FakeKubernetes):
    name = create(cluster, "Lauf Nr. 7 " + "x" * 80)
    assert cancel_training("Lauf Nr. 7 " + "x" * 80, ClusterConfig()) == [name]


def test_pods_that_were_made_in_that_moment_are_waited_for_too(cluster: FakeKubernetes):
    """JobSet may make pods while it is being deleted, if it was starting again; they outlive the TrainJob a little."""
    create(cluster, "demo")
    script = cluster.scripts[0]
    late: list[bool] = []
    original = cluster.delete

    def delete(name: str) -> None:
        original(name)
        script.attempt += 1
        cluster.trainjobs.pop(name)
        script.make_pods()
        late.append(True)

    cluster.delete = delete  # type: ignore[method-assign]
    cluster.grace_seconds = 0.3
    cancel_training("demo", ClusterConfig())
    assert late
    assert not cluster.pods


def test_pods_that_come_after_the_trainjob_went_are_waited_for_too(cluster: FakeKubernetes):
    """Trainer makes a JobSet anew whose TrainJob is being deleted, and the garbage collector deletes it again."""
    create(cluster, "demo")
    script = cluster.scripts[0]
    original = cluster.delete
    later = [threading.Timer(0.1, script.make_pods), threading.Timer(0.5, cluster.pods.clear)]

    def delete(name: str) -> None:
        original(name)
        for timer in later:
            timer.start()

    cluster.delete = delete  # type: ignore[method-assign]
    cancel_training("demo", ClusterConfig())
    assert later[1].finished.is_set()
    assert not cluster.pods


def test_a_run_without_trainings_and_a_cluster_without_trainer_have_none(cluster: FakeKubernetes):
    assert cancel_training("demo", ClusterConfig()) == []
    cluster.refuse("GET", "trainjobs", 404)
    assert cancel_training("demo", ClusterConfig()) == []


def test_pods_that_outlast_their_grace_are_named(cluster: FakeKubernetes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deletion, "MARGIN_SECONDS", -0.9)  # of a grace of a second
    name = create(cluster, "demo")
    cluster.grace_seconds = 3
    cluster.pods[f"{name}-node-0-0-0"]["spec"]["nodeName"] = "gpu-7"
    with pytest.raises(ServiceError, match=rf"(?s)still there after.*pod {name}-node-0-0-0 on node gpu-7 .*--force"):
        cancel_training("demo", ClusterConfig())
