"""What a launcher asks of the API server, against what the platform chart's Role allows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm.cluster import api
from llm.cluster.trainjobs.delete import delete_trainings
from llm.cluster.trainjobs.run_trainjob import run_trainjob
from llm.config import ClusterConfig
from llm.errors import GristmillError
from llm.runs.events import EventLog
from tests.fakes.cluster import PODS, FakeCluster, Training
from tests.unit.cluster.conftest import SPEC

GOLDEN = Path(__file__).parents[3] / "golden" / "charts" / "platform-default.yaml"
"""The chart as Helm renders it; tests/unit/charts holds it to the chart."""


def rights(role: str) -> set[tuple[str, str, str]]:
    """(API group, resource, verb) that a Role allows, whatever the object's name."""
    documents: list[dict[str, Any]] = [one for one in yaml.safe_load_all(GOLDEN.read_text()) if one]
    (found,) = [one for one in documents if one["kind"] == "Role" and one["metadata"]["name"] == role]
    return {
        (group, resource, verb)
        for rule in found["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
        for verb in rule["verbs"]
    }  # fmt: skip


def crashes(training: Training) -> None:
    training.run_pods()
    training.say("RuntimeError: boom")
    training.after(2, training.end, 0, 1)
    training.after(2, training.condition, "Failed")


def waits_and_crashes(training: Training) -> None:
    training.wait()
    training.workload("team-a", QuotaReserved=(False, "Pending", "insufficient unused quota"))
    training.after(5, training.go)
    training.after(5, crashes, training)


@pytest.fixture
def asked(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: EventLog) -> FakeCluster:
    """A launcher in a pod did all that it can do: a pool or a queue that is not there, a wait, a crash, a new try, a
    cancelled run.
    """
    (tmp_path / "namespace").write_text("ml")
    monkeypatch.setattr(api, "ACCOUNT_FOLDER", tmp_path)
    monkeypatch.setenv("KFP_POD_NAME", "launcher")
    cluster.put(f"{PODS.format('ml')}/launcher", spec={"containers": [{"name": "main", "image": "x"}]})
    cluster.install_kueue()
    cluster.kueue("localqueues", "team-a", "ml", spec={"clusterQueue": "team-a"})
    cluster.script = waits_and_crashes
    in_queue = replace(SPEC, queue="team-a")
    for spec in (replace(SPEC, pool="none"), replace(SPEC, queue="none"), in_queue, in_queue):
        with pytest.raises(GristmillError):
            run_trainjob(cluster.api(), spec, ClusterConfig(), log)
    delete_trainings(cluster.api(), "demo")
    return cluster


def test_a_launcher_may_do_exactly_what_it_asks_of_the_api_server(asked: FakeCluster):
    assert asked.verbs == rights("gristmill-train")


def test_a_step_of_a_pipeline_may_do_all_that_a_launcher_asks(asked: FakeCluster):
    assert asked.verbs <= rights("gristmill-pipeline")
