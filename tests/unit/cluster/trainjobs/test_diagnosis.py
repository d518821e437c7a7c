"""What keeps a training from starting: told once, given up when its time has come, and then nothing is left."""

from __future__ import annotations

import time

import pytest

from llm.errors import UserError
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from tests.kubernetes_case import FakeKubernetes, Script
from tests.unit.cluster.conftest import Follow

NAME = "demo-train-d9eca747"
JOB = f"{NAME}-node-0"
NO_GPU = (
    "0/3 nodes are available: 1 Insufficient cpu, 3 Insufficient nvidia.com/gpu. no new claims to deallocate,"
    " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
)


def warnings(log: EventLog) -> list[str]:
    return [event.message for event in log.of_kind(Warned)]


def gone(cluster: FakeKubernetes) -> bool:
    cluster.scripts[0].wait_for(lambda: NAME not in cluster.trainjobs)
    return True


def test_what_no_node_has_is_named_at_once_and_given_up_later(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.make_pods()
        script.unschedulable(NO_GPU)

    cluster.script = script
    with pytest.raises(UserError) as raised:
        run(patience=0.3)
    assert str(raised.value) == (
        "pool cpu has no room for the training: short of cpu, nvidia.com/gpu\n"
        "  2 of 2 pods wait for a node, each asking for cpu 2, memory 1Gi, nvidia.com/gpu 8\n"
        "  the scheduler says: 0/3 nodes are available: 1 Insufficient cpu, 3 Insufficient nvidia.com/gpu\n"
        "  Ask for less (training.parallel.nodes, another training.pool), or let an administrator add nodes to the"
        " pool.\n"
        f"  TrainJob {NAME} was deleted after 0.3 s (cluster.unschedulable_after_seconds)"
    )
    assert len(warnings(log)) == 1
    assert "short of cpu, nvidia.com/gpu" in warnings(log)[0]
    assert gone(cluster)


def test_a_pool_without_nodes_is_told_in_the_schedulers_words(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.make_pods()
        script.unschedulable(
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: …"
        )

    cluster.script = script
    with pytest.raises(UserError, match=r"has no room for the training: 3 node\(s\) didn't match Pod's node affinity"):
        run(patience=0.1)


def test_a_node_that_comes_in_time_ends_the_wait(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.make_pods()
        script.unschedulable(NO_GPU)
        time.sleep(0.3)
        script.run_pods()
        script.succeed()

    cluster.script = script
    run(patience=5)
    assert len(warnings(log)) == 1


@pytest.mark.parametrize(
    ("reason", "message", "error", "at_once"),
    [
        ("ErrImageNeverPull", "is not present", "image gristmill/train:1 cannot be had\n.*ErrImageNeverPull", True),
        ("InvalidImageName", "could not parse", "image gristmill/train:1 cannot be had\n.*could not parse", True),
        ("ErrImagePull", "not found", "image gristmill/train:1 cannot be had\n.*not found\n.*pullSecrets", False),
        ("ImagePullBackOff", "Back-off", "image gristmill/train:1 cannot be had\n.*Back-off", False),
        ("CreateContainerConfigError", 'secret "s3" not found', 'cannot be made: secret "s3" not found', False),
    ],
)
def test_a_container_that_cannot_start_is_given_up(
    cluster: FakeKubernetes, run: Follow, log: EventLog, reason: str, message: str, error: str, at_once: bool
):
    cluster.script = lambda script: script.waiting(reason, message)
    with pytest.raises(UserError, match=error):
        run(patience=60)
    assert len(warnings(log)) == (0 if at_once else 1)
    assert gone(cluster)


def test_an_image_that_is_had_after_all_is_no_obstacle(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.waiting("ErrImagePull", "too many requests")
        time.sleep(0.1)
        script.run_pods()
        time.sleep(0.3)
        script.succeed()

    cluster.script = script
    run()


QUOTA = (
    'Error creating: pods "x-node-0-0-abcde" is forbidden: exceeded quota: team, requested:'
    " limits.nvidia.com/gpu=8,requests.cpu=2, used: limits.nvidia.com/gpu=0,requests.cpu=9, limited: …"
)
POD_SECURITY = 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
WEBHOOK = 'TrainJob resources reconciliation failed: admission webhook "vjobset.kb.io" denied the request: rule name'


@pytest.mark.parametrize(
    ("name", "reason", "message", "error"),
    [
        (
            f"{NAME}-node-0",
            "FailedCreate",
            QUOTA,
            "quota team has no room .*: short of limits.nvidia.com/gpu, requests.cpu",
        ),
        (
            f"{NAME}-node-0",
            "FailedCreate",
            POD_SECURITY,
            f"refuses the pods of TrainJob {NAME}\n  pods .* violates PodSec",
        ),
        (NAME, "TrainJobResourcesCreationFailed", WEBHOOK, "refuses the pods of .*\n.*denied the request: rule name"),
        (NAME, "Unrelated", "x", "has not got all its pods, and no controller says why"),
    ],
)
def test_pods_that_are_not_made_are_explained_by_the_controllers(
    cluster: FakeKubernetes, run: Follow, log: EventLog, name: str, reason: str, message: str, error: str
):
    cluster.warning(name, "FailedCreate", "of an earlier TrainJob with this name", at="2020-01-01T00:00:00Z")
    cluster.script = lambda script: cluster.warning(name, reason, message)
    with pytest.raises(UserError, match=error):
        run(patience=0.4)
    assert len(warnings(log)) == 1
    assert gone(cluster)


def test_half_of_the_pods_are_not_enough(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.make_pods(1)
        cluster.warning(JOB, "FailedCreate", QUOTA)

    cluster.script = script
    with pytest.raises(UserError, match="quota team has no room"):
        run(patience=0.2)


def test_a_volume_that_is_not_there_is_named(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.waiting("ContainerCreating", "")
        for pod in cluster.pods.values():
            pod["spec"]["nodeName"] = "a"
        cluster.warning(script.pod(0), "FailedMount", 'MountVolume.SetUp failed: secret "ca" not found')

    cluster.script = script
    with pytest.raises(
        UserError, match=rf'node of pod {NAME}-node-0-0-0 cannot .*FailedMount\n.*secret "ca" not found'
    ):
        run(patience=0.3)


def test_a_pool_that_is_not_there_is_refused_before_anything_is_made(cluster: FakeKubernetes, run: Follow):
    cluster.pools |= {"a100", "h100"}
    with pytest.raises(UserError, match=r"training\.pool=v100: namespace ml has no .*\n  Pools there: a100, cpu, h100"):
        run(pool="v100")
    cluster.pools.clear()
    with pytest.raises(UserError, match="It has none at all"):
        run()
    assert not cluster.made("POST")
