"""Obstacles that keep a training from starting, in the words of the kubelet, the scheduler and the controllers.

Each obstacle has its own patience: a node may yet come, and a quota may become free. The message quotes the cluster's
own words, since they say more than ours could.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llm.cluster.api import Json
from llm.cluster.obstacles import CONFIGURATION_SECONDS, Advice, Obstacle, container_obstacle
from llm.cluster.pod_requests import time_of_event
from llm.cluster.pods import Pod

NOT_MADE = frozenset(
    {"FailedCreate", "HeadlessServiceCreationFailed", "JobCreationFailed", "TrainJobResourcesCreationFailed"}
)
NOT_PREPARED = frozenset({"FailedAttachVolume", "FailedCreatePodSandBox", "FailedMount"})
QUIET_SECONDS = 10.0
"""For so long it is normal that there are no pods yet."""
ADVICE = Advice(
    "Check that the registry has that tag or digest, and that the pool may pull it (image.pullSecrets).",
    "Make what is missing in this namespace, or change the values of gristmill-platform.",
)
_INSUFFICIENT = re.compile(r"\d+ Insufficient ([\w./-]*\w)")
_QUOTA = re.compile(r"exceeded quota: ([\w.-]+), requested: ([^,]+(?:,[^ ]+)*)")
_FINAL = ("violates PodSecurity", "denied the request", " is invalid")


def in_the_way_of(pods: Sequence[Pod], pool: str, patience_seconds: float) -> Obstacle | None:
    """The obstacle that keeps an existing pod from starting; if there are several, the one with the least patience."""
    found = [
        obstacle for pod in pods for waiting in pod.waiting
        if (obstacle := container_obstacle(pod, waiting, "the training", ADVICE)) is not None
    ]  # fmt: skip
    return min([*found, *_scheduling(pods, pool, patience_seconds)], key=_patience, default=None)


def to_making(warnings: Iterable[Json], since: str, name: str, patience_seconds: float) -> Obstacle:
    """The obstacle that keeps pods from being made, by the warnings since a time (RFC 3339, UTC)."""
    said = [event for event in warnings if event.get("reason") in NOT_MADE and time_of_event(event) >= since]
    if not said:
        return Obstacle(
            "silence", f"TrainJob {name} has not got all its pods, and no controller says why",
            ("Are the controllers of Kubeflow Trainer and JobSet running?",
             f"To look: kubectl describe trainjob {name}"),
            patience_seconds, QUIET_SECONDS,
        )  # fmt: skip
    words = str(said[-1].get("message") or "").removeprefix("Error creating: ")
    if (quota := _QUOTA.search(words)) is not None:
        resources = ", ".join(part.partition("=")[0] for part in quota[2].split(","))
        return Obstacle(
            "quota", f"the namespace's quota {quota[1]} has no room for the training: short of {resources}",
            (words,
             "Wait until others end, ask for less (training.parallel.nodes, training.pool), or raise the quota."),
            patience_seconds,
        )  # fmt: skip
    is_final = any(sign in words for sign in _FINAL)
    return Obstacle(
        "refusal", f"the cluster refuses the pods of TrainJob {name}", (words, "The pool's definition must change."),
        CONFIGURATION_SECONDS if is_final else patience_seconds,
    )  # fmt: skip


def to_preparing(warnings: Iterable[Json], since: str, pod: Pod, patience_seconds: float) -> Obstacle | None:
    """The obstacle to a node's preparation of a pod (volumes, network), by the warnings about the pod since a time."""
    said = [event for event in warnings if event.get("reason") in NOT_PREPARED and time_of_event(event) >= since]
    if not said:
        return None
    words = str(said[-1].get("message") or "")
    return Obstacle(
        "preparation", f"the node of pod {pod.name} cannot prepare it: {said[-1]['reason']}",
        (words, "The pool names a volume, a Secret or a ConfigMap that is not there, or the node has a fault."),
        patience_seconds,
    )  # fmt: skip


def _scheduling(pods: Sequence[Pod], pool: str, patience_seconds: float) -> Iterable[Obstacle]:
    waiting = [(pod, reason) for pod in pods if (reason := pod.unschedulable) is not None]
    if not waiting:
        return
    pod, reason = waiting[0]
    words = reason.partition(". ")[0].rstrip(".")  # the rest is about preemption
    short = sorted({resource for _, said in waiting for resource in _INSUFFICIENT.findall(said)})
    what = f"short of {', '.join(short)}" if short else words.partition("available: ")[2] or words
    yield Obstacle(
        "room", f"pool {pool} has no room for the training: {what}",
        (f"{len(waiting)} of {len(pods)} pods wait for a node, each asking for {pod.asks_for}",
         f"the scheduler says: {words}",
         "Ask for less (training.parallel.nodes, another training.pool), or let an administrator add nodes to the"
          " pool."),
        patience_seconds,
    )  # fmt: skip


def _patience(obstacle: Obstacle) -> float:
    return obstacle.patience_seconds
