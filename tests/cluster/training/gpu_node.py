"""A node that says it has GPUs: the scheduler believes it, so a pool of GPUs is scheduled where there are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cases.cluster import kubectl, wait_for

GPU = "nvidia.com/gpu"
PATH = GPU.replace("/", "~1")
"""Its name in a JSON patch."""


@contextmanager
def node_with_gpus(count: int) -> Iterator[str]:
    """The name of a node that advertises so many GPUs, and keeps out pods that do not tolerate their taint."""
    name = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    _patch(name, {"op": "add", "path": f"/status/capacity/{PATH}", "value": str(count)})
    kubectl("taint", "node", name, f"{GPU}=present:NoSchedule", "--overwrite")
    try:
        # the kubelet takes what it does not manage itself from capacity to allocatable
        wait_for(lambda: gpus_of(name) == str(count), f"{count} GPUs on node {name}", 60)
        yield name
    finally:
        kubectl("taint", "node", name, f"{GPU}:NoSchedule-")
        parts = ("capacity", "allocatable")
        _patch(name, *({"op": "remove", "path": f"/status/{part}/{PATH}"} for part in parts))


def gpus_of(node: str) -> str:
    """The GPUs of a node that pods may have; empty: it has none."""
    allocatable = json.loads(kubectl("get", "node", node, "-o", "jsonpath={.status.allocatable}"))
    return str(allocatable.get(GPU, ""))


def _patch(node: str, *changes: dict[str, str]) -> None:
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(changes))
