"""Whether a queue can ever start a training, before anything is made: it is there, it works, and it is large enough.

The same for the queues of steps' pods, but for the size: each is a job of its own.

What we may not see passes: Kueue then says it itself, and the follower of the TrainJob shows that.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from llm.config import PodsConfig
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
    _check_kueue(api, {"training.queue": asked.queue, "training.priority": asked.priority})
    _check_priority(api, "training.priority", asked.priority)
    queue = local_queue(api, asked.queue or DEFAULT)
    if queue is None:
        _check_there(api, "training.queue", asked.queue)
        return []
    wholes = cluster_queues(api)
    whole = _whole_of(queue, wholes)
    _check_active(api, "training.queue", queue, whole)
    if whole is not None:
        _check_size(api, queue, whole, wholes or [], asked, pool)
    return _stops(api, "training.queue", queue, whole)


def check_step_queues(api: Api, pods: PodsConfig) -> list[str]:
    """Warnings about the queues of steps' pods: that one is stopped now.

    Raises ServiceError if there is no Kueue, UserError for a queue or a priority that is not there, or that is out of
    order: the pods would wait for ever.
    """
    places = {"pods.all": pods.all, **{f"pods.steps.{step}": pod for step, pod in pods.steps.items()}}
    queues = {f"{place}.queue": pod.queue for place, pod in places.items() if pod.queue is not None}
    priorities = {f"{place}.priority": pod.priority for place, pod in places.items() if pod.priority is not None}
    _check_kueue(api, queues | priorities)
    for key, priority in priorities.items():
        _check_priority(api, key, priority)
    warnings: list[str] = []
    for key, name in queues.items():
        if (queue := local_queue(api, name)) is None:
            _check_there(api, key, name)
            continue
        whole = _whole_of(queue, cluster_queues(api))
        _check_active(api, key, queue, whole)
        warnings += _stops(api, key, queue, whole)
    return list(dict.fromkeys(warnings))


def _whole_of(queue: Json, wholes: list[Json] | None) -> Json | None:
    """The ClusterQueue of a LocalQueue; None if it may not be seen."""
    return next((one for one in wholes or () if one["metadata"]["name"] == queue["spec"]["clusterQueue"]), None)


def _check_kueue(api: Api, settings: Mapping[str, str | None]) -> None:
    """Raise ServiceError if one of these keys has a value, and the cluster has not the Kueue for it."""
    key, value = next(((key, value) for key, value in settings.items() if value is not None), ("", None))
    if value is None:
        return
    served = kueue_versions(api)
    if not served:
        raise ServiceError(
            f"{key}={value}: Kueue is not installed: the cluster does not know localqueues.{GROUP}",
            NEEDED,
            f"Without queues: leave out {key}. To look: kubectl get crd localqueues.{GROUP}",
        )
    if VERSION not in served:
        raise ServiceError(f"the cluster's Kueue serves {', '.join(served)} of {GROUP}, not {VERSION}", NEEDED)


def _check_priority(api: Api, key: str, priority: str | None) -> None:
    there = None if priority is None else priority_classes(api)
    if there is None or priority in there:
        return
    raise UserError(
        f"{key}={priority}: the cluster has no WorkloadPriorityClass of that name",
        f"There are: {', '.join(there)}." if there else "It has none at all.",
        f"Name one of them with {key}=…, or let an administrator add it (queues.priorities of gristmill-platform).",
    )


def _check_there(api: Api, key: str, name: str | None) -> None:
    there = None if name is None else local_queues(api)
    if there is None:
        return
    names = ", ".join(sorted(one["metadata"]["name"] for one in there))
    raise UserError(
        f"{key}={name}: namespace {api.namespace} has no LocalQueue of that name",
        f"Queues there: {names}." if names else "It has none at all.",
        f"A queue of another namespace cannot be used. Name one of these with {key}=…, or let an administrator"
        " add it (queues.localQueues of gristmill-platform).",
    )


def _check_active(api: Api, key: str, queue: Json, whole: Json | None) -> None:
    """Raise UserError for a queue that is out of order, and not only stopped."""
    fault, who = _inactive(queue), f"LocalQueue {queue['metadata']['name']}"
    if whole is not None and (own := _inactive(whole)) is not None:
        fault, who = own, f"ClusterQueue {whole['metadata']['name']}"
    if fault is None or fault["reason"] in MAY_BE_STOPPED:
        return
    raise UserError(
        f"{_named(api, queue)} cannot start {_work(key)}: {who} is not active",
        f"Kueue says: {fault['reason']}: {fault['message']}",
        f"An administrator mends it, or name another queue with {key}=….",
    )


def _stops(api: Api, key: str, queue: Json, whole: Json | None) -> list[str]:
    for one, kind in ((queue, "LocalQueue"), (whole, "ClusterQueue")):
        if one is not None and one["spec"].get("stopPolicy") in STOPPED:
            by = f"stopPolicy {one['spec']['stopPolicy']} of {kind} {one['metadata']['name']}"
            waits = f"{_work(key)} waits there until an administrator starts it"
            return [f"{_named(api, queue)} is stopped ({by}): {waits}"]
    if _inactive(queue) is not None and whole is None:
        why = f"its ClusterQueue {queue['spec']['clusterQueue']} is stopped or out of order"
        return [f"{_named(api, queue)} starts nothing now: {why}. {_work(key).capitalize()} waits there"]
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


def _work(key: str) -> str:
    """The work that a key of the configuration names a queue for."""
    return "a training" if key.startswith("training.") else "a step"


def _named(api: Api, queue: Json) -> str:
    return f"queue {queue['metadata']['name']} of namespace {api.namespace}"


def _inactive(queue: Json) -> Json | None:
    """The condition that says why it is not active; None if it is, or if Kueue has not said it yet."""
    conditions = (queue.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == "Active" and one["status"] == "False"), None)
