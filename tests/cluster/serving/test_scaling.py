"""The serving chart with autoscaling, on a cluster with KEDA: two pods under load, one without, and nothing is left.

scripts/ci/cluster_test runs this after it has installed KEDA; on a cluster without it, the test is skipped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from llm.errors import GristmillError
from llm.serving.triton.client import stream
from tests.cases.cluster import Json, fresh_namespace, helm, kubectl, objects, wait_for
from tests.cluster.serving.release import CHART, MODEL, RELEASE, node_address

pytestmark = pytest.mark.alone  # its clients keep a core busy
CRD = "scaledobjects.keda.sh"
CLIENTS = 32
"""Far more than the slots of a pod (8): of one pod's requests, some 23 wait; of two pods', 14."""
TOKENS = 200
WITHIN_SECONDS = 120


@dataclass
class Load:
    """Clients that ask one question after another, each on a new connection."""

    url: str
    answers: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """One client."""
        while not self.over.is_set():
            try:
                pieces = stream(self.url, MODEL, "The ", max_tokens=TOKENS)
                self.answers.append("".join(piece.text for piece in pieces))
            except GristmillError as error:
                self.failed.append(str(error))
                self.over.wait(0.5)


@contextmanager
def load(url: str) -> Iterator[Load]:
    """Clients at work during the block; afterwards, no answer may be missing, or another than the first."""
    running = Load(url)
    threads = [threading.Thread(target=running.run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: running.answers or running.failed, "answers under load")
        yield running
    finally:
        running.over.set()
        for thread in threads:
            thread.join()
    assert running.failed == []
    assert len(set(running.answers)) == 1


@pytest.fixture
def namespace(kubeconfig: str) -> Iterator[str]:
    if not kubectl("get", "crd", CRD, "--ignore-not-found", "-o", "name"):
        pytest.skip("the cluster has no KEDA: scripts/ci/cluster_test installs it")
    with fresh_namespace("gristmill-scaling") as name:
        yield name


def test_the_number_of_pods_follows_the_load_no_answer_is_lost_and_nothing_is_left(
    namespace: str, images: dict[str, str]
) -> None:
    install(namespace, images["triton"])
    assert ready(namespace) == 1
    with load(address(namespace)):
        wait_for(lambda: ready(namespace) == 2, "a second pod", WITHIN_SECONDS)
    wait_for(lambda: len(pods(namespace)) == 1, "the second pod to go", WITHIN_SECONDS)
    assert ready(namespace) == 1
    helm("uninstall", RELEASE, "--namespace", namespace, "--wait", "--timeout", "2m")
    kinds = f"{CRD},horizontalpodautoscalers,deployments,services,networkpolicies,pods"
    wait_for(lambda: not objects(namespace, kinds), "everything of the release to be gone")


def install(namespace: str, image: str) -> None:
    """The image's own model on one pod, or on two while more than four requests wait."""
    name, digest = image.split("@")
    settings = (
        f"image.repository={name}", f"image.digest={digest}", "service.type=NodePort", "trial.enabled=false",
        "resources.requests.cpu=100m", "resources.requests.memory=256Mi",
        "drain.delaySeconds=2", "drain.generationSeconds=30",
        "autoscaling.enabled=true", "autoscaling.maxReplicas=2", "autoscaling.waitingRequests=4",
        "autoscaling.scaleDownSeconds=10",
    )  # fmt: skip
    helm(
        "install", RELEASE, str(CHART), "--namespace", namespace, "--wait", "--timeout", "4m",
        *(part for setting in settings for part in ("--set", setting)),
    )  # fmt: skip


def address(namespace: str) -> str:
    """The Service on the node."""
    (service,) = objects(namespace, "services")
    port = next(port["nodePort"] for port in service["spec"]["ports"] if port["name"] == "http")
    return f"http://{node_address()}:{port}"


def ready(namespace: str) -> int:
    """Pods that answer."""
    (deployment,) = objects(namespace, "deployments")
    return int(deployment["status"].get("readyReplicas", 0))


def pods(namespace: str) -> list[Json]:
    """All pods, those that are going too."""
    return objects(namespace, "pods")
