"""Pools of GPUs in the platform chart: devices, taints, and where the pods of one training stand to each other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cases.helm import Helm, one

GPUS: dict[str, Any] = {"resources": {"requests": {"cpu": "8"}, "limits": {"nvidia.com/gpu": 8}}}
TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
KUEUE = "kueue.x-k8s.io/podset-"


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm("gristmill-platform")


def pod(helm: Helm, pool: dict[str, Any]) -> dict[str, Any]:
    """The pod template of a pool."""
    found = helm.documents("--set-json", f"pools={json.dumps({'cpu': None, 'own': pool})}")
    (job,) = one(found, "TrainingRuntime", "own")["spec"]["template"]["spec"]["replicatedJobs"]
    template: dict[str, Any] = job["template"]["spec"]["template"]
    return template


def nccl(template: dict[str, Any]) -> list[str]:
    return [item["value"] for item in template["spec"]["containers"][0]["env"] if item["name"] == "NCCL_DEBUG"]


def test_a_pool_of_gpus_tolerates_their_taint_and_lets_nccl_say_what_fails(helm):
    found = pod(helm, GPUS)
    assert found["spec"]["tolerations"] == [TAINT]
    assert nccl(found) == ["WARN"]
    assert nccl(pod(helm, GPUS | {"env": [{"name": "NCCL_DEBUG", "value": "INFO"}]})) == ["INFO"]


def test_another_resource_has_its_own_taint_and_a_pool_without_devices_has_none(helm):
    other = {"resources": {"requests": {"cpu": "8"}, "limits": {"amd.com/gpu": 8, "nvidia.com/gpu": 0}}}
    found = pod(helm, other)
    assert found["spec"]["tolerations"] == [TAINT | {"key": "amd.com/gpu"}]
    assert nccl(found) == []
    assert "tolerations" not in pod(helm, {})["spec"]


def test_tolerations_of_the_pool_stay_and_none_comes_twice(helm):
    spot = {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}
    assert pod(helm, GPUS | {"tolerations": [spot, TAINT]})["spec"]["tolerations"] == [spot, TAINT]


@pytest.mark.parametrize("required", [True, False])
def test_pods_of_one_training_stand_together_by_the_label_of_the_topology(helm, required):
    found = pod(helm, GPUS | {"topology": {"label": "example.com/rack", "required": required}})
    near = found["spec"]["affinity"]["podAffinity"]
    if required:
        (term,) = near["requiredDuringSchedulingIgnoredDuringExecution"]
    else:
        term = near["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert term["topologyKey"] == "example.com/rack"
    assert term["matchLabelKeys"] == ["jobset.sigs.k8s.io/jobset-name"], "not with the pods of other trainings"
    assert term["labelSelector"]["matchLabels"].items() <= found["metadata"]["labels"].items()


@pytest.mark.parametrize(("required", "key"), [(True, "required-topology"), (False, "preferred-topology")])
def test_kueue_is_asked_in_its_own_words_and_nothing_is_said_twice(helm, required, key):
    topology = {"label": "example.com/rack", "required": required, "kueue": True}
    found = pod(helm, GPUS | {"topology": topology, "podAnnotations": {"own": "x"}})
    assert found["metadata"]["annotations"] == {KUEUE + key: "example.com/rack", "own": "x"}
    assert "affinity" not in found["spec"]


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"topology": {"required": True}}, "pools.own.topology names no label"),
        ({"topology": {"label": "a b"}}, "pools/own/topology/label"),
        ({"topology": {"label": None, "kueue": True}}, "got null, want string"),
        ({"topology": {"label": "x", "racks": 1}}, "additional properties 'racks' not allowed"),
        ({"topology": {"label": "x"}, "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"topologyKey": "y"}]}}}, "pools.own has both topology and affinity.podAffinity"),
    ],
)  # fmt: skip
def test_a_topology_that_means_nothing_is_refused(helm, pool, said):
    done = helm.run("template", "x", helm.chart, "--set-json", f"pools={json.dumps({'own': pool})}")
    assert done.returncode
    assert said in done.stderr


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        (
            {"flavors": {"h100": {"topologyName": "racks"}}},
            "queues.flavors.h100 has topologyName=racks and no nodeLabels",
        ),
        ({"topologies": {"racks": []}}, "minItems: got 0, want 1"),
        ({"topologies": {"racks": ["a", "a"]}}, "at '/queues/topologies/racks': items at 0 and 1 are equal"),
        ({"topologies": {"racks": [""]}}, "at '/queues/topologies/racks/0'"),
    ],
)
def test_a_topology_that_kueue_would_refuse_is_refused(helm, queues, said):
    done = helm.run("template", "x", helm.chart, "--set-json", f"queues={json.dumps(queues)}")
    assert done.returncode
    assert said in done.stderr, done.stderr


def test_launchers_see_the_nodes_of_the_cluster_only_where_the_values_say_so(helm):
    found = helm.documents("--set", "rbac.nodes=true,rbac.clusterQueues=true")
    roles = {item["metadata"]["name"]: item["rules"] for item in found if item["kind"] == "ClusterRole"}
    assert roles["gristmill-ml-nodes"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    bound = one(found, "ClusterRoleBinding", "gristmill-ml-nodes")
    assert [subject["name"] for subject in bound["subjects"]] == ["gristmill-pipeline", "gristmill-train"]
    assert bound["roleRef"]["name"] == "gristmill-ml-nodes"
    assert "ClusterRole" not in {item["kind"] for item in helm.documents()}
