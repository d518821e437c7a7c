"""The pods of every pipeline's steps in a namespace as a platform team keeps it: nothing is refused."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path

import pytest

from llm.cli.run import PIPELINES, load_pipeline
from llm.cluster.pipelines.package import compile_package
from llm.config import compose
from tests.cases.cluster import CHARTS, Json, helm
from tests.cases.kfp_pods import pods_of

ACCOUNT = "gristmill-pipeline"
POLICED = """
quota:
  {requests.cpu: 16, requests.memory: 64Gi, limits.cpu: 32, limits.memory: 128Gi, requests.ephemeral-storage: 200Gi}
limitRange:
  default: {cpu: "1", memory: 1Gi, ephemeral-storage: 10Gi}
  defaultRequest: {cpu: 50m, memory: 64Mi, ephemeral-storage: 1Gi}
  max: {cpu: "8", memory: 32Gi}
poolDefaults:
  resources: {requests: {cpu: 500m, memory: 2Gi}, limits: {cpu: "2", memory: 4Gi}}
"""
SIZES = {
    "by default": (),
    "all settings": (
        "pods.all.node_selector.pool=steps",
        "pods.all.tolerations=[{key: steps, operator: Exists, effect: NoSchedule}]",
        "pods.all.timeout_seconds=3600", "pods.all.labels.team=a", "pods.all.annotations.note=long words, and more",
        "pods.steps.train.memory_limit=16Gi", "pods.steps.train.accelerator=nvidia.com/gpu",
        "pods.steps.train.accelerators=1", "pods.steps.export.cpu_limit=4",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def policed(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A namespace under PodSecurity `restricted`, with a ResourceQuota and a LimitRange."""
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(POLICED)
    helm("install", "gristmill", str(CHARTS / "gristmill-platform"), "-n", namespace, "-f", str(values))
    return namespace


def refusal(namespace: str, pod: Json) -> str:
    """What the API server says against a pod; nothing if it takes it."""
    done = subprocess.run(
        ["kubectl", "-n", namespace, "create", "--dry-run=server", "-f", "-"],
        input=json.dumps(pod), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stderr


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("sizes", SIZES)
def test_no_pod_of_a_pipeline_is_refused(policed: str, tmp_path: Path, pipeline: str, sizes: str) -> None:
    config = compose(SIZES[sizes])
    compile_package(load_pipeline(pipeline, config), config, tmp_path / "package.yaml")
    pods = list(pods_of((tmp_path / "package.yaml").read_text(), ACCOUNT))
    assert len(pods) > 20
    assert {pod["metadata"]["name"]: refusal(policed, pod) for pod in pods} == {
        pod["metadata"]["name"]: "" for pod in pods
    }


def test_this_namespace_refuses_what_the_steps_do_not_do(policed: str, tmp_path: Path) -> None:
    config = compose()
    compile_package(load_pipeline("pretrain", config), config, tmp_path / "package.yaml")
    pod = next(
        one for one in pods_of((tmp_path / "package.yaml").read_text(), ACCOUNT) if one["metadata"]["name"] == "gate"
    )
    as_root, large = copy.deepcopy(pod), copy.deepcopy(pod)
    del as_root["spec"]["containers"][0]["securityContext"]["runAsNonRoot"]
    large["spec"]["containers"][0]["resources"]["limits"]["memory"] = "33Gi"
    assert 'violates PodSecurity "restricted' in refusal(policed, as_root)
    assert "maximum memory usage per Container is 32Gi" in refusal(policed, large)
