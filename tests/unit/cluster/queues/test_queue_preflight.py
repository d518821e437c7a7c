"""Queues that can never start a training are refused before anything is made, with the reason and a way out."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm.cluster.queues.queue_preflight import Asked, check_queue, check_step_queues
from llm.config import compose
from llm.errors import GristmillError, ServiceError, UserError
from tests.fakes.cluster import KUEUE, FakeCluster
from tests.unit.cluster.queues.test_capacity import pool, queue

Json = dict[str, Any]
POOL = pool({"cpu": "2", "memory": "4Gi"})
CLUSTER_WIDE = {"clusterqueues", "cohorts", "workloadpriorityclasses"}


@pytest.fixture
def kueue(cluster: FakeCluster) -> FakeCluster:
    """A cluster with Kueue: the queue `team-a` of `ml`, in a ClusterQueue of its own, and one of another namespace."""
    cluster.install_kueue()
    cluster.kueue("localqueues", "team-a", "ml", spec={"clusterQueue": "whole"})
    cluster.kueue("localqueues", "team-b", "other", spec={"clusterQueue": "whole"})
    cluster.kueue("clusterqueues", "whole", **queue("whole", "research", all={"cpu": (4, 2), "memory": ("32Gi",)}))
    cluster.kueue("clusterqueues", "other", **queue("other", "research", all={"cpu": (64,), "memory": ("1Ti",)}))
    cluster.kueue("workloadpriorityclasses", "urgent", value=9)
    return cluster


def check(cluster: FakeCluster, name: str | None = "team-a", priority: str | None = None, nodes: int = 2) -> list[str]:
    return check_queue(cluster.api(), Asked(name, priority, "cpu", nodes), POOL)


def refused(cluster: FakeCluster, kind: type[GristmillError], **asked: Any) -> str:
    with pytest.raises(kind) as raised:
        check(cluster, **asked)
    return str(raised.value)


def inactive(cluster: FakeCluster, path: str, reason: str, message: str, stop: str = "None") -> None:
    found = cluster.objects[f"{KUEUE}/v1beta2/{path}"]
    assert isinstance(found, dict)
    found["spec"]["stopPolicy"] = stop
    found["status"] = {"conditions": [{"type": "Active", "status": "False", "reason": reason, "message": message}]}


def test_a_queue_that_can_start_the_training_is_let_through(kueue: FakeCluster):
    assert check(kueue, "team-a", "urgent", nodes=3) == []
    assert check(kueue, None) == [], "without a queue, and without a queue `default`"


@pytest.mark.parametrize("asked", [{"name": "team-a"}, {"name": None, "priority": "urgent"}])
def test_a_queue_without_kueue_is_refused(cluster: FakeCluster, asked: Json):
    said = refused(cluster, ServiceError, **asked)
    assert re.match(r"training\.(queue|priority)=\S+: Kueue is not installed", said)
    assert "Kueue 0.17 or newer" in said
    assert check(cluster, None) == [], "and nobody who asks for no queue needs it"


def test_an_older_kueue_is_refused(cluster: FakeCluster):
    cluster.objects[KUEUE] = {"versions": [{"version": "v1beta1"}]}
    assert refused(cluster, ServiceError).startswith(
        "the cluster's Kueue serves v1beta1 of kueue.x-k8s.io, not v1beta2"
    )


def test_a_queue_that_is_not_there_is_refused_with_those_that_are(kueue: FakeCluster):
    said = refused(kueue, UserError, name="team-b")
    assert said.startswith(
        "training.queue=team-b: namespace ml has no LocalQueue of that name\n  Queues there: team-a."
    )
    assert "A queue of another namespace cannot be used" in said
    del kueue.objects[f"{KUEUE}/v1beta2/namespaces/ml/localqueues/team-a"]
    assert "It has none at all" in refused(kueue, UserError)


def test_a_priority_that_is_not_there_is_refused_with_those_that_are(kueue: FakeCluster):
    said = refused(kueue, UserError, priority="low")
    assert said.startswith("training.priority=low: the cluster has no WorkloadPriorityClass of that name")
    assert "There are: urgent." in said


@pytest.mark.parametrize("name", ["team-a", None])
def test_a_training_that_can_never_fit_is_refused_with_the_numbers_of_the_queue(kueue: FakeCluster, name: str | None):
    kueue.kueue("localqueues", "default", "ml", spec={"clusterQueue": "whole"})
    assert refused(kueue, UserError, name=name, nodes=4) == (
        f"queue {name or 'default'} of namespace ml can never start the training: 4 pods of pool cpu ask for cpu 8,"
        " memory 16 GiB\n"
        "  ClusterQueue whole, flavor all: at most cpu 6 (its quota is cpu 4, the rest borrowed in cohort research)\n"
        "  Ask for less (training.parallel.nodes, another training.pool), name another queue with training.queue=…, or"
        " let an administrator raise the quota."
    )


def test_memory_is_compared_too_and_one_that_fits_later_is_let_through(kueue: FakeCluster):
    kueue.kueue("clusterqueues", "whole", **queue("whole", all={"cpu": (99,), "memory": ("4Gi",)}))
    assert "1 pod" not in refused(kueue, UserError)
    assert "at most memory 4 GiB (its quota is memory 4 GiB)" in refused(kueue, UserError)
    kueue.objects[f"{KUEUE}/v1beta2/clusterqueues/whole"]["status"] = {"reservingWorkloads": 9}  # type: ignore[index]
    assert check(kueue, nodes=1) == []


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("namespaces/ml/localqueues/team-a", "stopPolicy Hold of LocalQueue team-a"),
        ("clusterqueues/whole", "stopPolicy Hold of ClusterQueue whole"),
    ],
)
def test_a_queue_that_is_stopped_is_a_warning_since_a_training_may_wait_for_it(kueue: FakeCluster, path: str, by: str):
    inactive(kueue, path, "Stopped", "is stopped", "Hold")
    (said,) = check(kueue)
    assert said == (
        f"queue team-a of namespace ml is stopped ({by}): a training waits there until an administrator starts it"
    )


def test_a_stopped_cluster_queue_that_we_may_not_see_is_told_by_its_local_queue(kueue: FakeCluster):
    kueue.forbidden = CLUSTER_WIDE
    inactive(kueue, "namespaces/ml/localqueues/team-a", "ClusterQueueIsInactive", "Can't submit new workloads")
    assert check(kueue) == [
        "queue team-a of namespace ml starts nothing now: its ClusterQueue whole is stopped or out of order. A training"
        " waits there"
    ]


@pytest.mark.parametrize(
    ("path", "reason", "message", "kind"),
    [
        ("clusterqueues/whole", "FlavorNotFound", "references missing ResourceFlavor(s): gpu", "ClusterQueue whole"),
        ("namespaces/ml/localqueues/team-a", "ClusterQueueDoesNotExist", "can't submit", "LocalQueue team-a"),
    ],
)
def test_a_queue_that_is_out_of_order_is_refused_in_kueues_words(
    kueue: FakeCluster, path: str, reason: str, message: str, kind: str
):
    inactive(kueue, path, reason, message)
    said = refused(kueue, UserError)
    assert said.startswith(f"queue team-a of namespace ml cannot start a training: {kind} is not active")
    assert f"Kueue says: {reason}: {message}" in said


def test_what_may_not_be_seen_passes(kueue: FakeCluster):
    kueue.forbidden = CLUSTER_WIDE
    assert check(kueue, "team-a", "no-such-priority", nodes=99) == []
    kueue.forbidden = CLUSTER_WIDE | {"localqueues"}
    assert check(kueue, "no-such-queue", nodes=99) == []
    kueue.refuse("GET", f"{KUEUE}$", 403)
    assert check(kueue) == []


def check_steps(cluster: FakeCluster, *settings: str) -> list[str]:
    return check_step_queues(cluster.api(), compose(settings).pods)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pods.all.queue=team-b", r"pods\.all\.queue=team-b: namespace ml has no LocalQueue of that name\n.*team-a"),
        ("pods.steps.export.queue=none", r"pods\.steps\.export\.queue=none: namespace ml has no LocalQueue"),
        ("pods.all.priority=low", r"pods\.all\.priority=low: the cluster has no WorkloadPriorityClass.*\n.*urgent"),
        ("pods.steps.gate.priority=low", r"pods\.steps\.gate\.priority=low: the cluster has no WorkloadPriorityClass"),
    ],
)
def test_a_queue_or_a_priority_of_a_steps_pod_that_is_not_there_is_refused(kueue: FakeCluster, setting: str, said: str):
    with pytest.raises(UserError, match=said):
        check_steps(kueue, "pods.steps.ingest.queue=team-a", setting)


def test_a_queue_of_a_steps_pod_that_is_out_of_order_is_refused_and_one_that_is_stopped_is_a_warning(
    kueue: FakeCluster,
):
    assert check_steps(kueue, "pods.all.queue=team-a", "pods.all.priority=urgent") == []
    inactive(kueue, "clusterqueues/whole", "Stopped", "is stopped", "Hold")
    (said,) = check_steps(kueue, "pods.all.queue=team-a", "pods.steps.gate.queue=team-a")
    assert said.startswith("queue team-a of namespace ml is stopped (stopPolicy Hold of ClusterQueue whole): a step")
    inactive(kueue, "clusterqueues/whole", "FlavorNotFound", "references missing ResourceFlavor(s): gpu")
    with pytest.raises(UserError, match="team-a of namespace ml cannot start a step: ClusterQueue whole is not active"):
        check_steps(kueue, "pods.all.queue=team-a")


def test_queues_of_steps_without_kueue_are_refused_and_without_queues_nothing_is_asked(cluster: FakeCluster):
    assert check_steps(cluster) == []
    assert cluster.requests == []
    said = r"pods\.all\.queue=team-a: Kueue is not installed(.|\n)*leave out pods\.all\.queue"
    with pytest.raises(ServiceError, match=said):
        check_steps(cluster, "pods.all.queue=team-a")


def test_a_queue_of_a_step_that_may_not_be_seen_passes(kueue: FakeCluster):
    kueue.forbidden = CLUSTER_WIDE | {"localqueues"}
    assert check_steps(kueue, "pods.all.queue=no-such-queue", "pods.all.priority=low") == []
