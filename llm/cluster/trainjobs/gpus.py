"""GPUs of a pool against what a training does with them, before anything is made.

A pool names them under `resources.limits`, by the resource's name (`cluster.gpu_resource`), and each rank takes one.
Whether a node has them is a warning, not a refusal: an autoscaler adds nodes when pods wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm.cluster.api import Api, Json
from llm.cluster.pod_requests import if_allowed, items
from llm.cluster.queues.capacity import asked_for
from llm.cluster.trainjobs.trainjob_requests import pool_documents
from llm.config import ClusterConfig, TrainingConfig
from llm.config.quantity import amount
from llm.errors import UserError

NAMED_NODES = 8
"""A message names no more of them."""


@dataclass(frozen=True)
class AskedGpus:
    """The wishes of a training about GPUs."""

    device: str
    """`training.compute.device`."""
    nodes: int
    processes: int
    """Ranks on each node."""
    resource: str
    """`cluster.gpu_resource`."""

    @classmethod
    def of(cls, training: TrainingConfig, cluster: ClusterConfig) -> AskedGpus:
        """Those of a configuration."""
        parallel = training.parallel
        return cls(training.compute.device, parallel.nodes, parallel.processes, cluster.gpu_resource)


def check_gpus(api: Api, asked: AskedGpus, pool: Json) -> list[str]:
    """Warnings about the GPUs of a pool, a TrainingRuntime: that they would be idle, or that no node has them now.

    Raises UserError if the training needs GPUs and the pool has none, or if its ranks are not as many as the GPUs.
    """
    name, has = pool["metadata"]["name"], gpus_of_pod(pool, asked.resource)
    if not has:
        if asked.device == "cuda":
            raise _without_gpus(api, asked, name)
        return []
    if asked.device != "cpu" and asked.processes != has:
        raise UserError(
            f"training.parallel.processes={asked.processes}, and a pod of pool {name} has {has} {asked.resource}:"
            " each rank takes one GPU",
            f"Set training.parallel.processes={has}, or name a pool whose pods have {asked.processes}.",
            "To leave the GPUs idle: training.compute.device=cpu.",
        )
    idle = f"each pod of pool {name} holds {has} {asked.resource}, and training.compute.device=cpu leaves them idle"
    return [*([idle] if asked.device == "cpu" else []), *_room(api, asked, pool, has)]


def gpus_of_pod(pool: Json, resource: str) -> int:
    """GPUs that one pod of a pool asks for."""
    return int(asked_for(pool, 1).get(resource, 0.0))


def nodes_with(api: Api, resource: str) -> str | None:
    """The nodes of the cluster and how much each has of a resource, in words; None if we may not see nodes."""
    found = _nodes(api)
    return None if found is None else _written(found, resource)


def _without_gpus(api: Api, asked: AskedGpus, name: str) -> UserError:
    others = {one["metadata"]["name"]: gpus_of_pod(one, asked.resource) for one in pool_documents(api)}
    there = ", ".join(f"{other} ({gpus} a pod)" for other, gpus in sorted(others.items()) if gpus)
    return UserError(
        f"training.compute.device=cuda, and pool {name} asks for no {asked.resource}",
        f"Pools with it: {there}." if there else f"No pool of namespace {api.namespace} asks for it.",
        "Name a pool with GPUs with training.pool=…, or let an administrator add one (resources.limits of a pool of"
        " gristmill-platform). GPUs of another resource name: cluster.gpu_resource.",
    )


def _room(api: Api, asked: AskedGpus, pool: Json, has: int) -> list[str]:
    """The warning that the nodes there cannot hold all pods, whoever else is on them; none if we may not see nodes."""
    nodes = _nodes(api)
    if nodes is None:
        return []
    places = sum(_amount(node, asked.resource) // has for node in nodes if _is_of(pool, node))
    if places >= asked.nodes:
        return []
    pods = "1 pod" if asked.nodes == 1 else f"{asked.nodes} pods"
    room = f"the nodes of pool {pool['metadata']['name']} have room for {places} now"
    there = _written(nodes, asked.resource)
    return [
        f"the training wants {pods} with {has} {asked.resource} each, and {room} ({there}): it starts if nodes come"
    ]


def _nodes(api: Api) -> list[Json] | None:
    return if_allowed(lambda: items(api.get("/api/v1/nodes", "list nodes")))


def _is_of(pool: Json, node: Json) -> bool:
    """Whether the pool's nodeSelector lets its pods onto a node that takes pods."""
    labels = node["metadata"].get("labels") or {}
    job = pool["spec"]["template"]["spec"]["replicatedJobs"][0]
    wanted = job["template"]["spec"]["template"]["spec"].get("nodeSelector") or {}
    return wanted.items() <= labels.items() and not (node.get("spec") or {}).get("unschedulable")


def _amount(node: Json, resource: str) -> int:
    there = (node.get("status") or {}).get("allocatable") or {}
    return int(amount(str(there.get(resource, "0"))) or 0)


def _written(nodes: list[Json], resource: str) -> str:
    each = sorted((-_amount(node, resource), node["metadata"]["name"]) for node in nodes)
    named = [f"{name} {-count}" for count, name in each[:NAMED_NODES]]
    if len(each) > NAMED_NODES:
        named.append(f"and {len(each) - NAMED_NODES} more")
    return f"{resource} by node: {', '.join(named) or 'there is no node'}"
