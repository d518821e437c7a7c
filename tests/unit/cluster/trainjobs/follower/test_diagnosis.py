"""What keeps a training from starting: the cluster's words, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from llm.cluster.pods import Pod, Waiting
from llm.cluster.trainjobs.follower.diagnosis import in_the_way_of, to_making, to_preparing

NO_GPU = (
    "0/3 nodes are available: 1 Insufficient cpu, 3 Insufficient nvidia.com/gpu. no new claims to deallocate,"
    " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
)
QUOTA = (
    'Error creating: pods "x-node-0-0-abcde" is forbidden: exceeded quota: team, requested:'
    " limits.nvidia.com/gpu=8,requests.cpu=2, used: limits.nvidia.com/gpu=0,requests.cpu=9, limited: …"
)
POD_SECURITY = 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
WEBHOOK = 'TrainJob resources reconciliation failed: admission webhook "vjobset.kb.io" denied the request: rule name'


def pod(**changes: Any) -> Pod:
    asked = {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": "8"}}
    return Pod("x", "ml", "Pending", "", False, None, **{**asked, **changes})


def warning(reason: str, message: str, at: str = "2026-11-24T23:01:00Z") -> dict[str, str]:
    return {"reason": reason, "message": message, "lastTimestamp": at}


def test_what_no_node_has_is_named():
    found = in_the_way_of([pod(not_scheduled=("Unschedulable", NO_GPU))] * 2, "a100", 600)
    assert found is not None
    assert (found.kind, found.patience_seconds) == ("room", 600)
    assert "\n".join([found.summary, *found.details]) == (
        "pool a100 has no room for the training: short of cpu, nvidia.com/gpu\n"
        "2 of 2 pods wait for a node, each asking for cpu 2, memory 1Gi, nvidia.com/gpu 8\n"
        "the scheduler says: 0/3 nodes are available: 1 Insufficient cpu, 3 Insufficient nvidia.com/gpu\n"
        "Ask for less (training.parallel.nodes, another training.pool), or let an administrator add nodes to the pool."
    )


def test_a_pool_without_nodes_is_explained_in_the_schedulers_words():
    words = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: …"
    found = in_the_way_of([pod(not_scheduled=("Unschedulable", words))], "a100", 600)
    assert found is not None
    assert found.summary.endswith("no room for the training: 3 node(s) didn't match Pod's node affinity/selector")


def test_a_pod_that_the_scheduler_holds_back_is_not_in_the_way():
    assert in_the_way_of([pod(not_scheduled=("SchedulingGated", "waits for its gates"))], "a100", 600) is None


def test_of_several_obstacles_the_one_with_the_least_patience_counts():
    waiting = (Waiting("node", "i:1", "ErrImageNeverPull", "is not present"),)
    pods = [pod(not_scheduled=("Unschedulable", NO_GPU)), pod(waiting=waiting)]
    found = in_the_way_of(pods, "a100", 600)
    assert found is not None
    assert found.summary == "the training cannot start: the image i:1 cannot be pulled"
    assert "pullSecrets" in found.details[1]


@pytest.mark.parametrize(
    ("reason", "message", "kind", "words", "seconds"),
    [
        ("FailedCreate", QUOTA, "quota", "quota team has no room for the training: short of limits.nvidia.com/gpu,"
         " requests.cpu", 600),
        ("FailedCreate", POD_SECURITY, "refusal", "the cluster refuses the pods of TrainJob demo", 10),
        ("TrainJobResourcesCreationFailed", WEBHOOK, "refusal", "the cluster refuses the pods of TrainJob demo", 10),
        ("FailedCreate", "etcd is slow", "refusal", "the cluster refuses the pods of TrainJob demo", 600),
        ("Unrelated", "x", "silence", "has not got all its pods, and no controller says why", 600),
    ],
)  # fmt: skip
def test_pods_that_are_not_made_are_explained_by_the_controllers(
    reason: str, message: str, kind: str, words: str, seconds: float
):
    earlier = warning("FailedCreate", "of an earlier TrainJob with this name", "2020-01-01T00:00:00Z")
    found = to_making([earlier, warning(reason, message)], "2026-11-24T23:00:00Z", "demo", 600)
    assert (found.kind, found.patience_seconds) == (kind, seconds)
    assert words in found.summary
    assert kind == "silence" or found.details[0] == message.removeprefix("Error creating: ")


@pytest.mark.parametrize(("at", "is_there"), [("2026-11-24T23:01:00Z", True), ("2026-11-24T22:01:00Z", False)])
def test_a_volume_that_is_not_there_is_named_while_the_kubelet_says_it(at: str, is_there: bool):
    said = [warning("FailedMount", 'MountVolume.SetUp failed: secret "ca" not found', at), warning("Pulled", "x")]
    found = to_preparing(said, "2026-11-24T23:00:00Z", pod(), 600)
    assert (found is not None) == is_there
    if found is not None:
        assert found.summary == "the node of pod x cannot prepare it: FailedMount"
        assert 'secret "ca" not found' in found.details[0]
