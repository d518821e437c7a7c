"""Servers that speak as Kubeflow Pipelines and Kubernetes do, and an environment that knows of no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.config import kube_config

from llm.cluster.pipelines.kfp_client import KfpApi, connect
from llm.config import ClusterConfig
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer


def use_kubeconfig(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """As a process that is started with it: Kubernetes' client reads the variable once, when it is imported."""
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT", "KFP_EXISTING_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH",
                 "KUBERNETES_SERVICE_HOST"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    use_kubeconfig(monkeypatch, tmp_path / "no-kubeconfig")


@pytest.fixture
def kfp(no_cluster: None) -> Iterator[KfpServer]:
    with KfpServer() as server:
        yield server


@pytest.fixture
def pods(no_cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ClusterServer]:
    """A cluster that the kubeconfig leads to, with Kubeflow Pipelines and Trainer in it."""
    with ClusterServer("kubeflow") as server:
        use_kubeconfig(monkeypatch, server.kubeconfig(tmp_path / "kubeconfig"))
        server.put("/api/v1/namespaces/kubeflow/services/ml-pipeline")
        server.put("/api/v1/namespaces/kubeflow/serviceaccounts/gristmill-pipeline")
        yield server


@pytest.fixture
def api(kfp: KfpServer) -> KfpApi:
    return connect(ClusterConfig(kfp_uri=kfp.uri))
