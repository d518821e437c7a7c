"""A cluster without Kubeflow Trainer, or with another version of it: said before anything is made.

scripts/ci/cluster_test runs this before it installs Trainer; on a cluster that has it, the tests are skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.storage import open_objects
from tests.cases.cluster import CHARTS, everything, fresh_namespace, helm, kubectl, wait_for

CRD = "trainjobs.trainer.kubeflow.org"


@pytest.fixture
def namespace(kubeconfig: str) -> Iterator[str]:
    if kubectl("get", "crd", CRD, "--ignore-not-found", "-o", "name"):
        pytest.skip("the cluster has Kubeflow Trainer: nothing to see here")
    with fresh_namespace("gristmill-no-trainer") as name:
        yield name


@pytest.fixture
def another_version(namespace: str) -> Iterator[None]:
    """A Trainer that serves v2 alone."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"kind": "TrainJob", "listKind": "TrainJobList", "plural": "trainjobs", "singular": "trainjob"}
    version = {"name": "v2", "served": True, "storage": True, "schema": schema}
    spec = {"group": "trainer.kubeflow.org", "names": names, "scope": "Namespaced", "versions": [version]}
    document = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": CRD},
                "spec": spec}  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(document))
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    yield
    kubectl("delete", "crd", CRD, "--wait=true")


def test_the_platform_chart_names_what_is_missing(namespace: str):
    before = everything(namespace)
    done = helm("install", "gristmill", str(CHARTS / "gristmill-platform"), "-n", namespace, check=False)
    assert done.returncode != 0
    assert "error: the cluster has no CRD trainingruntimes.trainer.kubeflow.org (v1alpha1)" in done.stderr
    assert "Kubeflow Trainer 2.0" in done.stderr
    assert everything(namespace) == before


def test_a_training_on_a_pool_is_refused_before_its_first_step(namespace: str, store_uri: str, tmp_path: Path):
    done = train(namespace, store_uri, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "error: Kubeflow Trainer is not installed: the cluster does not know trainjobs" in done.stderr
    assert "2.0" in done.stderr
    assert open_objects(store_uri).names() == [], "something was made already"


def test_a_trainer_of_another_version_is_named_with_the_one_that_is_needed(
    namespace: str, another_version: None, store_uri: str, tmp_path: Path
):
    def refusal() -> str:
        done = train(namespace, store_uri, tmp_path)
        assert done.returncode == 2, done.stderr
        return done.stderr if "serves" in done.stderr else ""  # discovery follows a CRD a moment later

    said = wait_for(refusal, "the new version to be discovered", 30)
    assert "serves trainer.kubeflow.org/v2, not v1alpha1" in said


def train(namespace: str, store_uri: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"]
    given = ["data.path=stdlib", f"storage.uri={store_uri}", f"run.folder={folder / 'runs'}",
             f"cluster.namespace={namespace}", "training.pool=cpu", "training.parallel.nodes=1"]  # fmt: skip
    return subprocess.run([*command, "run", "pretrain", *given], capture_output=True, text=True)
