"""A cluster in memory, and a training that is followed there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from llm.cluster.trainjobs.run_trainjob import run_trainjob
from llm.cluster.trainjobs.trainjob import TrainJobSpec, trainjob_name
from llm.config import ClusterConfig
from llm.runs.event_kinds import Progress, TrainStep, Warned
from llm.runs.events import EventLog
from tests.fakes.cluster import POOLS, FakeCluster

SPEC = TrainJobSpec(
    run="demo", task="train", pool="cpu", nodes=2, processes=1,
    command=("python", "-m", "llm.training.pod", "s3://b/plan.json"),
)  # fmt: skip
NAME = trainjob_name("demo", "train")
IMAGE = "gristmill/train:1"
Run = Callable[..., None]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setenv("GRISTMILL_TRAIN_IMAGE", IMAGE)
    made = FakeCluster()
    made.put(POOLS.format("ml") + "/cpu")
    return made


@pytest.fixture
def run(cluster: FakeCluster, log: EventLog) -> Run:
    """Run a training on the cluster, SPEC with the given fields changed."""

    def call(*, replace_complete: bool = False, **changes: Any) -> None:
        run_trainjob(cluster.api(), replace(SPEC, **changes), ClusterConfig(), log, replace_complete=replace_complete)

    return call


def told(log: EventLog, kind: type[Progress] | type[Warned]) -> list[str]:
    return [event.message for event in log.of_kind(kind)]


def steps(log: EventLog) -> list[int]:
    return [event.step for event in log.of_kind(TrainStep)]
