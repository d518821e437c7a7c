"""A launcher that is a pod itself: its image, and the owner of its TrainJob."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm.cluster import api
from llm.cluster.trainjobs import own_pod
from llm.errors import UserError
from llm.images import Image, fingerprint, record
from tests.fakes.cluster import PODS, FakeCluster, Training
from tests.unit.cluster.conftest import NAME, Run


@pytest.fixture
def pod(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Our own pod, made by Argo."""
    (tmp_path / "namespace").write_text("ml\n")
    monkeypatch.setattr(api, "ACCOUNT_FOLDER", tmp_path)
    monkeypatch.setenv("KFP_POD_NAME", "pretrain-x7k2p-1")
    monkeypatch.delenv("GRISTMILL_TRAIN_IMAGE")
    cluster.script = ends
    containers = [{"name": "wait", "image": "argo"}, {"name": "main", "image": "train@sha256:1"}]
    metadata = {"uid": "p-1", "ownerReferences": [{"kind": "Workflow", "uid": "w-1", "controller": True}]}
    return cluster.put(f"{PODS.format('ml')}/pretrain-x7k2p-1", metadata=metadata, spec={"containers": containers})


def ends(training: Training) -> None:
    training.run_pods()
    training.succeed()


def test_the_training_has_the_launchers_image_and_is_deleted_with_its_pod(
    cluster: FakeCluster, run: Run, pod: dict[str, Any]
):
    run()
    job = cluster.trainjobs()[NAME]
    assert job["spec"]["trainer"]["image"] == "train@sha256:1"
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "pretrain-x7k2p-1", "uid": "p-1"}
    assert job["metadata"]["ownerReferences"] == [owner]


def test_a_pod_is_found_by_its_host_name_and_its_first_container_where_none_is_main(
    cluster: FakeCluster, run: Run, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("KFP_POD_NAME")
    monkeypatch.setenv("HOSTNAME", "pretrain-x7k2p-1")
    pod["spec"]["containers"] = [{"name": "a", "image": "first"}, {"name": "b", "image": "second"}]
    run()
    assert cluster.trainjobs()[NAME]["spec"]["trainer"]["image"] == "first"


def test_a_pod_cannot_own_a_trainjob_in_another_namespace(cluster: FakeCluster, pod: dict[str, Any]):
    launcher = own_pod.own_pod(cluster.api("other"))
    assert launcher is not None
    assert launcher.owner is None


def test_a_pod_that_does_not_know_its_name_is_asked_for_it(
    cluster: FakeCluster, run: Run, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KFP_POD_NAME", "other")
    with pytest.raises(UserError, match=r"(?s)calls itself other, and namespace ml has no pod.*KFP_POD_NAME"):
        run()
    assert not cluster.made("POST")


def test_outside_of_a_pod_the_image_is_the_one_that_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("GRISTMILL_IMAGE_PREFIX", "GRISTMILL_TRAIN_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"no image to train with\n.*make images.*GRISTMILL_TRAIN_IMAGE"):
        own_pod.training_image(None, "auto", tmp_path)
    (tmp_path / "build").mkdir()
    record({"train": Image("gristmill/train:0.1.0", "sha256:0", "sha256:1", 1, None, "another tree")}, tmp_path)
    assert own_pod.training_image(None, "auto", tmp_path) == "gristmill/train@sha256:1"
    monkeypatch.setenv("GRISTMILL_IMAGE_PREFIX", "registry:5000/team")
    assert own_pod.training_image(None, "auto", tmp_path) == "registry:5000/team/train@sha256:1"
    monkeypatch.setenv("GRISTMILL_TRAIN_IMAGE", "mine:1")
    assert own_pod.training_image(None, "auto", tmp_path) == "mine:1"


def test_a_training_on_gpus_takes_the_image_with_cuda_where_that_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("GRISTMILL_IMAGE_PREFIX", "GRISTMILL_TRAIN_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "build").mkdir()
    sources = fingerprint(tmp_path)
    made = {
        name: Image(f"gristmill/{name}:0", "", f"sha256:{name}", 1, None, sources) for name in ("train", "train-cuda")
    }
    record({"train": made["train"]}, tmp_path)
    assert own_pod.training_image(None, "cuda", tmp_path) == "gristmill/train@sha256:train"
    record(made, tmp_path)
    assert own_pod.training_image(None, "cuda", tmp_path) == "gristmill/train-cuda@sha256:train-cuda"
    assert own_pod.training_image(None, "auto", tmp_path) == "gristmill/train@sha256:train"
