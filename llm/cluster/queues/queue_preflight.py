"""Whether a queue can ever start a training, before anything is made: it is there, it works, and it is large enough.

What we may not see passes: Kueue then says it itself, and the follower of the TrainJob shows that.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm.cluster.api import Api, Json
from llm.cluster.queues.capacity import all_written, asked_for, shortages, written
from llm.cluster.queues.kueue_requests import (
    GROUP,
    VERSION,
    cluster_queues,
    cohorts,
    kueue_versions,
    local_queue,
    local_queues,
    priority_classes,
)
from llm.errors import ServiceError, UserError

DEFAULT = "default"
"""Kueue puts a job without the label of a queue into the LocalQueue of this name."""
NEEDED = "Gristmill needs Kueue 0.17 or newer, which serves kueue.x-k8s.io/v1beta2, with Kubeflow Trainer 2.2 or newer."
STOPPED = frozenset({"Hold", "HoldAndDrain"})
MAY_BE_STOPPED = frozenset({"Stopped", "ClusterQueueIsInactive"})
"""Reasons of an inactive queue that a stop has too; the second is a LocalQueue's, whatever ails its ClusterQueue."""


@dataclass(frozen=True)
class Asked:
    """The wishes of a training about its queue."""

    queue: str | None
    """`training.queue`."""
    priority: str | None
    """`training.priority`."""
    pool: str
    nodes: int


def check_queue(api: Api, asked: Asked, pool: Json) -> list[str]:
    """Warnings about the training's queue: that it is stopped now. `pool` is the pool's TrainingRuntime.

    Raises ServiceError if a queue or priority is asked for and there is no Kueue; UserError if the queue or the
    priority is not there, or if the queue can never start the training.
    """
    if asked.queue is not None or asked.priority is not None:
        _check_kueue(api, asked)
        _check_priority(api, asked.priority)
    queue = local_queue(api, asked.queue or DEFAULT)
    if queue is None:
        _check_there(api, asked.queue)
        return []
    wholes = cluster_queues(api)
    whole = next((one for one in wholes or () if one["metadata"]["name"] == queue["spec"]["clusterQueue"]), None)
    _check_active(api, queue, whole)
    if whole is not None:
        _check_size(api, queue, whole, wholes or [], asked, pool)
    return _stops(api, queue, whole)


def _check_kueue(api: Api, asked: Asked) -> None:
    key, value = ("queue", asked.queue) if asked.queue is not None else ("priority", asked.priority)
    served = kueue_versions(api)
    if not served:
        raise ServiceError(
            f"training.{key}={value}: Kueue is not installed: the cluster does not know localqueues.{GROUP}",
            NEEDED,
            f"Without queues: leave out training.{key}. To look: kubectl get crd localqueues.{GROUP}",
        )
    if VERSION not in served:
        raise ServiceError(f"the cluster's Kueue serves {', '.join(served)} of {GROUP}, not {VERSION}", NEEDED)


def _check_priority(api: Api, priority: str | None) -> None:
    there = priority_classes(api)
    if priority is None or there is None or priority in there:
        return
    raise UserError(
        f"training.priority={priority}: the cluster has no WorkloadPriorityClass of that name",
        f"There are: {', '.join(there)}." if there else "It has none at all.",
        "Name one of them with training.priority=…, or let an administrator add it (queues.priorities of"
        " gristmill-platform).",
    )


def _check_there(api: Api, name: str | None) -> None:
    there = local_queues(api)
    if name is None or there is None:
        return
    names = ", ".join(sorted(one["metadata"]["name"] for one in there))
    raise UserError(
        f"training.queue={name}: namespace {api.namespace} has no LocalQueue of that name",
        f"Queues there: {names}." if names else "It has none at all.",
        "A queue of another namespace cannot be used. Name one of these with training.queue=…, or let an administrator"
        " add it (queues.localQueues of gristmill-platform).",
    )


def _check_active(api: Api, queue: Json, whole: Json | None) -> None:
    """Raise UserError for a queue that is out of order, and not only stopped."""
    fault, who = _inactive(queue), f"LocalQueue {queue['metadata']['name']}"
    if whole is not None and (own := _inactive(whole)) is not None:
        fault, who = own, f"ClusterQueue {whole['metadata']['name']}"
    if fault is None or fault["reason"] in MAY_BE_STOPPED:
        return
    raise UserError(
        f"{_named(api, queue)} cannot start a training: {who} is not active",
        f"Kueue says: {fault['reason']}: {fault['message']}",
        "An administrator mends it, or name another queue with training.queue=….",
    )


def _stops(api: Api, queue: Json, whole: Json | None) -> list[str]:
    for one, kind in ((queue, "LocalQueue"), (whole, "ClusterQueue")):
        if one is not None and one["spec"].get("stopPolicy") in STOPPED:
            by = f"stopPolicy {one['spec']['stopPolicy']} of {kind} {one['metadata']['name']}"
            return [f"{_named(api, queue)} is stopped ({by}): a training waits there until an administrator starts it"]
    if _inactive(queue) is not None and whole is None:
        why = f"its ClusterQueue {queue['spec']['clusterQueue']} is stopped or out of order"
        return [f"{_named(api, queue)} starts nothing now: {why}. A training waits there"]
    return []


def _check_size(api: Api, queue: Json, whole: Json, wholes: list[Json], asked: Asked, pool: Json) -> None:
    wanted = asked_for(pool, asked.nodes)
    short = shortages(wanted, whole, wholes, cohorts(api))
    if not short:
        return
    name, cohort = whole["metadata"]["name"], whole["spec"].get("cohortName")
    source = f", the rest borrowed in cohort {cohort}" if cohort else ""
    limits = [
        f"ClusterQueue {name}, flavor {one.flavor}: at most {written(one.resource, one.most)} (its quota is"
        f" {written(one.resource, one.nominal)}{source})"
        for one in short
    ]
    pods = "1 pod" if asked.nodes == 1 else f"{asked.nodes} pods"
    raise UserError(
        f"{_named(api, queue)} can never start the training: {pods} of pool {asked.pool} ask for"
        f" {all_written(wanted.items())}",
        *limits,
        "Ask for less (training.parallel.nodes, another training.pool), name another queue with training.queue=…, or"
        " let an administrator raise the quota.",
    )


def _named(api: Api, queue: Json) -> str:
    return f"queue {queue['metadata']['name']} of namespace {api.namespace}"


def _inactive(queue: Json) -> Json | None:
    """The condition that says why it is not active; None if it is, or if Kueue has not said it yet."""
    conditions = (queue.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == "Active" and one["status"] == "False"), None)
