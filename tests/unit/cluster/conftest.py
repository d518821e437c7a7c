"""A cluster in this process, and a follower that looks often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm.cluster import api, log_stream
from llm.cluster.trainjobs import delete, diagnosis, follower
from llm.cluster.trainjobs.run_trainjob import follow
from llm.cluster.trainjobs.trainjob import TrainJobSpec
from llm.config import ClusterConfig
from llm.runs.events import EventLog
from tests.kubernetes_case import FakeKubernetes

SPEC = TrainJobSpec(
    run="demo", task="train", pool="cpu", nodes=2, processes=1,
    command=("python", "-m", "llm.training.pod", "s3://b/plan.json"),
)  # fmt: skip
IMAGE = "gristmill/train:1"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is waited for comes soon."""
    for module, name in (
        (follower, "POLL_SECONDS"), (delete, "POLL_SECONDS"), (log_stream, "RETRY_SECONDS"),
        (diagnosis, "EVENTS_EVERY_SECONDS"), (api, "FIRST_WAIT_SECONDS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(delete, "SETTLE_SECONDS", 0.2)
    for name in ("PULL_SECONDS", "CONFIGURATION_SECONDS", "QUIET_SECONDS"):
        monkeypatch.setattr(diagnosis, name, 0.2)
    monkeypatch.setattr(diagnosis, "PREPARATION_SECONDS", 0.1)


@pytest.fixture
def cluster(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as made:
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.setenv("GRISTMILL_TRAIN_IMAGE", IMAGE)
        yield made
    assert not made.errors


Follow = Callable[..., None]


@pytest.fixture
def run(cluster: FakeKubernetes, log: EventLog) -> Follow:
    """Follow a TrainJob on the cluster, SPEC with the given fields changed."""

    def call(*, anew: bool = False, patience: float = 0.4, timeout: float = 2.0, **changes: Any) -> None:
        settings = ClusterConfig(unschedulable_after_seconds=patience, timeout_seconds=timeout)
        follow(replace(SPEC, **changes), settings, log, anew=anew)

    return call
