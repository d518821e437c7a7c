"""What a step's pod asks for: the defaults, what a step changes, and what Kubernetes would not take."""

from __future__ import annotations

import pytest

from llm.config import compose, from_yaml, to_yaml
from llm.config.quantity import cores, size_bytes
from llm.errors import UserError


def test_a_step_has_what_it_sets_and_the_rest_from_all():
    config = compose(["pods.all.cpu_limit=4", "pods.all.labels.team=7", "pods.steps.train.memory_limit=16Gi"])
    train, gate = config.pods.of("train"), config.pods.of("gate")
    assert (train.cpu_limit, train.memory_limit, train.memory_request) == ("4", "16Gi", "1Gi")
    assert (gate.cpu_limit, gate.memory_limit) == ("4", "4Gi")
    assert train.labels == gate.labels == {"team": "7"}


def test_the_document_of_a_run_keeps_it_all():
    config = compose(["pods.steps.train.memory_limit=16Gi", "pods.all.tolerations=[{key: gpu, operator: Exists}]"])
    assert from_yaml(to_yaml(config)) == config
    assert from_yaml(to_yaml(config)).pods.of("train").memory_request == "1Gi"


def test_names_with_dots_and_values_that_look_like_something_else_are_texts():
    given = ["pods.all.node_selector.nvidia.com/gpu.present=true", "pods.steps.train.labels.example.org/cost=7"]
    pods = compose(given).pods
    assert pods.all.node_selector == {"nvidia.com/gpu.present": "true"}
    assert pods.of("train").labels == {"example.org/cost": "7"}
    assert compose(["pods.all.labels={1: 2}"]).pods.all.labels == {"1": "2"}


def test_a_default_can_be_taken_away():
    assert compose(["pods.all.cpu_limit=null"]).pods.of("train").cpu_limit is None


@pytest.mark.parametrize(("text", "amount"), [("500m", 0.5), ("2", 2.0), ("1.5", 1.5)])
def test_cpus(text: str, amount: float):
    assert cores(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"), [("512Mi", 512 << 20), ("4Gi", 4 << 30), ("2G", 2 * 10**9), ("1000", 1000)]
)
def test_memory(text: str, amount: int):
    assert size_bytes(text) == amount


LONG = "a" * 64


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pods.all.cpu_request=3", r"^pods\.all: cpu_request=3 is above cpu_limit=2$"),
        ("pods.all.memory_request=5Gi", r"^pods\.all: memory_request=5Gi is above memory_limit=4Gi$"),
        ("pods.all.cpu_limit=2cores", r"^pods\.all\.cpu_limit='2cores' is not allowed: a CPU is written as 500m, 2 or"),
        ("pods.all.cpu_limit=0", "a CPU is written as"),
        ("pods.all.memory_limit=4GB", "memory is written as 512Mi, 4Gi or 2G, not as 4GB$"),
        ("pods.all.memory_limit=4K", "memory is written as"),  # Kubeflow's client takes it, and Kubernetes does not
        ("pods.all.memory_limit=-1Gi", "memory is written as"),
        ("cluster.gpu_resource=gpu", "gpu_resource=gpu is no resource of nodes: write nvidia.com/gpu"),
        ("cluster.gpu_resource=nvidia.com/", "gpu_resource=nvidia.com/ is no resource of nodes"),
        ("cluster.gpu_resource=null", "cluster.gpu_resource"),
        ("pods.all.accelerators=1", "accelerator and accelerators go together"),
        (f"pods.all.labels.team={LONG}", rf"^pods\.all: labels: team={LONG} is no label: up to 63 letters"),
        (f"pods.all.labels.{LONG}=a", rf"^pods\.all: labels: {LONG} is no key: up to 63 letters"),
        ("pods.all.node_selector.pool=a b", "node_selector: pool=a b is no label"),
        ("pods.all.annotations.-a=b", "annotations: -a is no key"),
        ("pods.all.labels={kueue.x-k8s.io/queue-name: q}", "kueue.x-k8s.io/queue-name is set by queue and priority"),
        ("pods.all.labels={pipeline/runid: x}", "labels: pipeline/runid is set by Kubeflow Pipelines"),
        ("pods.all.labels={gristmill.io/step: train}", "labels: gristmill.io/step is set by Gristmill"),
        (
            "pods.steps.gate.annotations={workflows.argoproj.io/node-name: x}",
            "annotations: workflows.argoproj.io/node-name is set by Argo",
        ),
        ("pods.all.queue=Team_A", r"^pods\.all\.queue='Team_A' is not allowed"),
        ("pods.all.queue=team-b/gpu", r"^pods\.all\.queue='team-b/gpu' is not allowed"),
        ("pods.all.tolerations=[{key: a, effect: Never}]", r"^pods\.all\.tolerations\.0\.effect='Never' is not"),
        ("pods.all.tolerations=[{key: a, operator: Exists, value: b}]", "with operator Exists has no value"),
        ("pods.all.tolerations=[{value: b}]", "with operator Equal needs a key"),
        ("pods.all.timeout_seconds=0", "greater than 0"),
        ("pods.all.timeout_seconds=99999999999", "less than 2147483648"),
        (
            "pods.steps.train={accelerator: gpu, accelerators: 1}",
            "accelerator=gpu is no resource of nodes: write nvidia",
        ),
        ("pods.steps.train.cpu=1", r"^unknown config key pods\.steps\.train\.cpu"),
        (
            "pods.steps.train.memory_request=8Gi",
            r"steps\.train does not fit pods\.all: memory_request=8Gi is above",
        ),
        ("cluster.run_as_user=0", "greater than 0"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(setting: str, said: str):
    with pytest.raises(UserError, match=said):
        compose([setting])
