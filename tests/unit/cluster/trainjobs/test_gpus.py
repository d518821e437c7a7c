"""GPUs of a pool: what a training does with them, and whether there are nodes that have them."""

from __future__ import annotations

from typing import Any

import pytest

from llm.cluster.trainjobs import run_trainjob
from llm.cluster.trainjobs.gpus import AskedGpus, check_gpus
from llm.cluster.trainjobs.pool_preflight import check_pool_and_queue
from llm.config import RunConfig
from llm.errors import UserError
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from tests.fakes.cluster import POOLS, FakeCluster
from tests.unit.cluster.conftest import Run, told

GPU = "nvidia.com/gpu"
IDLE = f"each pod of pool gpu holds 4 {GPU}, and training.compute.device=cpu leaves them idle"


def pool(gpus: int, resource: str = GPU, **pod: Any) -> dict[str, Any]:
    """The spec of a TrainingRuntime."""
    resources = {"requests": {"cpu": "1"}, "limits": {resource: gpus} if gpus else {}}
    pod["containers"] = [{"name": "node", "resources": resources}]
    return {"template": {"spec": {"replicatedJobs": [{"template": {"spec": {"template": {"spec": pod}}}}]}}}


@pytest.fixture
def gpus(cluster: FakeCluster) -> FakeCluster:
    """A pool of four GPUs a pod, two nodes of it with room for three pods, and a node without any."""
    cluster.put(f"{POOLS.format('ml')}/gpu", spec=pool(4, nodeSelector={"kind": "gpu"}))
    for name, count, labels in (("a", 4, {"kind": "gpu"}), ("b", 8, {"kind": "gpu"}), ("c", 0, {})):
        node(cluster, name, count, labels)
    return cluster


def node(cluster: FakeCluster, name: str, gpus: int, labels: dict[str, str], **spec: Any) -> None:
    allocatable = {"cpu": "8"} | ({GPU: str(gpus)} if gpus else {})
    cluster.put(f"/api/v1/nodes/{name}", metadata={"labels": labels}, spec=spec, status={"allocatable": allocatable})


def check(
    cluster: FakeCluster, device: str = "auto", nodes: int = 1, processes: int = 4, pool: str = "gpu",
    resource: str = GPU,
) -> list[str]:  # fmt: skip
    found = cluster.objects[f"{POOLS.format('ml')}/{pool}"]
    assert isinstance(found, dict)
    return check_gpus(cluster.api(), AskedGpus(device, nodes, processes, resource), found)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_as_many_ranks_as_gpus_are_let_through(gpus: FakeCluster, device: str):
    assert check(gpus, device, nodes=3) == []


@pytest.mark.parametrize("processes", [1, 3, 8])
def test_ranks_that_are_not_as_many_as_the_gpus_are_refused(gpus: FakeCluster, processes: int):
    said = rf"training\.parallel\.processes={processes}, and a pod of pool gpu has 4 {GPU}.*\n.*processes=4"
    with pytest.raises(UserError, match=said):
        check(gpus, processes=processes)


def test_ranks_on_the_cpu_of_a_gpu_pool_are_a_choice_that_is_said(gpus: FakeCluster):
    assert check(gpus, "cpu", processes=1) == [IDLE]


def test_a_gpu_that_the_pool_has_not_is_refused_with_the_pools_that_have_it(gpus: FakeCluster):
    gpus.put(f"{POOLS.format('ml')}/cpu", spec=pool(0))
    with pytest.raises(UserError, match=r"device=cuda, and pool cpu asks for no nvidia.com/gpu\n.*: gpu \(4 a pod\)\."):
        check(gpus, "cuda", pool="cpu")
    assert check(gpus, "auto", pool="cpu") == []
    with pytest.raises(UserError, match=r"No pool of namespace ml asks for it\.(.|\n)*cluster\.gpu_resource"):
        check(gpus, "cuda", resource="amd.com/gpu")


def test_another_resource_name_is_a_gpu_too(gpus: FakeCluster):
    gpus.put(f"{POOLS.format('ml')}/mi300", spec=pool(8, "amd.com/gpu"))
    gpus.forbidden = {"nodes"}
    assert check(gpus, "cuda", processes=8, pool="mi300", resource="amd.com/gpu") == []


def test_nodes_that_cannot_hold_all_pods_are_named_with_what_they_have(gpus: FakeCluster):
    (said,) = check(gpus, nodes=4)
    assert said == (
        f"the training wants 4 pods with 4 {GPU} each, and the nodes of pool gpu have room for 3 now"
        f" ({GPU} by node: b 8, a 4, c 0): it starts if nodes come"
    )


@pytest.mark.parametrize("gone", ["label", "cordon"])
def test_a_node_that_takes_no_pod_of_the_pool_is_no_room(gpus: FakeCluster, gone: str):
    labels = {} if gone == "label" else {"kind": "gpu"}
    node(gpus, "b", 8, labels, unschedulable=gone == "cordon")
    (said,) = check(gpus, nodes=2)
    assert "have room for 1 now" in said


def test_a_message_names_a_few_nodes_of_many_and_none_of_none(gpus: FakeCluster):
    for number in range(20):
        node(gpus, f"n{number:02}", 0, {})
    (said,) = check(gpus, nodes=9)
    assert "b 8, a 4, c 0, n00 0, n01 0, n02 0, n03 0, n04 0, and 15 more" in said
    for path in [path for path in gpus.objects if path.startswith("/api/v1/nodes/")]:
        del gpus.objects[path]
    assert "there is no node" in check(gpus)[0]


def test_who_may_not_see_nodes_hears_of_the_pool_alone(gpus: FakeCluster):
    gpus.forbidden = {"nodes"}
    assert check(gpus, nodes=99) == []


def test_the_preflight_and_the_launcher_refuse_alike(gpus: FakeCluster, log: EventLog, monkeypatch: pytest.MonkeyPatch):
    config = RunConfig.model_validate({"training": {"pool": "gpu", "compute": {"device": "cuda"}}})
    with pytest.raises(UserError) as first:
        check_pool_and_queue(gpus.api(), config.training, config.cluster)
    monkeypatch.setattr(run_trainjob, "connect", lambda cluster: gpus.api())
    with pytest.raises(UserError) as second:
        run_trainjob.train_job("demo", config, log)("s3://b/plan.json")
    assert str(first.value) == str(second.value)
    assert not gpus.made("POST")


def test_a_training_that_no_node_takes_ends_with_the_nodes_and_what_they_have(
    gpus: FakeCluster, run: Run, log: EventLog
):
    gpus.script = lambda training: training.find_no_node(f"0/3 nodes are available: 3 Insufficient {GPU}.")
    with pytest.raises(UserError, match=rf"short of {GPU}\n(.|\n)*{GPU} by node: b 8, a 4, c 0"):
        run(pool="gpu", processes=4, nodes=4)
    assert "have room for 3 now" in told(log, Warned)[0]
