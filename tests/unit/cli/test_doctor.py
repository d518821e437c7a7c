"""`gristmill doctor` with a pool looks at the cluster too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.submission import gristmill
from tests.fakes.cluster import POOLS
from tests.fakes.cluster_server import ClusterServer

ON_A_POOL = ("training.pool=cpu", "storage.uri=s3://bucket/prefix")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ClusterServer() as made:
        made.put(f"{POOLS.format('ml')}/cpu")
        monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig(tmp_path / "kubeconfig")))
        yield made


def test_a_pool_and_a_queue_that_can_be_used_are_ok(capsys, cluster: ClusterServer):
    cluster.install_kueue()
    cluster.kueue("localqueues", "team-a", "ml", spec={"clusterQueue": "all", "stopPolicy": "Hold"})
    ended = gristmill(capsys, "doctor", *ON_A_POOL, "training.queue=team-a")
    assert "ok    pool cpu            a training can start there, and in queue team-a" in ended.out
    assert "opt   queue               queue team-a of namespace ml is stopped" in ended.out


def test_a_queue_that_is_not_there_is_missing(capsys, cluster: ClusterServer):
    ended = gristmill(capsys, "doctor", *ON_A_POOL, "training.queue=team-a")
    assert ended.code == 2
    assert "MISS  pool cpu            training.queue=team-a: Kueue is not installed" in ended.out


def test_without_a_pool_no_cluster_is_asked(capsys, cluster: ClusterServer):
    gristmill(capsys, "doctor")
    assert cluster.requests == []
