"""The bytes that a rank sends, by the meaning of the ranks that it sends them to.

A collective of n ranks is counted as a ring would send it: of a gathered or scattered tensor each rank sends
(n - 1) / n, of a reduced one twice as much. Source: Chan et al. 2007, "Collective communication".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

resolve: Any = dist.distributed_c10d._resolve_process_group  # type: ignore[attr-defined]
NAMESPACES = ("_c10d_functional", "_c10d_functional_autograd", "c10d")
WAITS = ("wait_tensor", "barrier", "monitored_barrier")


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is active."""

    def __init__(self, axes: Mapping[str, str]) -> None:
        """`axes`: what the ranks of a group share, by the group's name."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._axes = axes
        self.sent: Counter[str] = Counter()
        self.collectives: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count a collective."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        found = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if func.namespace in NAMESPACES and not name.startswith(WAITS):
            self._count(name, found, args, kwargs or {})
        return found

    def _count(self, name: str, found: Any, args: Any, kwargs: Any) -> None:
        group = _group(args, kwargs)
        axis, ranks = self._axes.get(group.group_name, "all"), group.size()
        sizes = [one.numel() * one.element_size() for one in tree_iter((args, found)) if isinstance(one, Tensor)]
        largest = max(sizes, default=0)
        share = 1.0 if name in ("send", "recv_") else (ranks - 1) / ranks
        factor = 0 if name.startswith("recv") else 2 if "allreduce" in name or "all_reduce" in name else 1
        self.sent[axis] += int(largest * share * factor)
        self.collectives[axis] += 1


def axes_of(meshes: Mapping[str, DeviceMesh]) -> dict[str, str]:
    """The axis of each group of some one-dimensional meshes."""
    return {mesh.get_group().group_name: axis for axis, mesh in meshes.items()}


def _group(args: Any, kwargs: Any) -> dist.ProcessGroup:
    for one in (*args, *kwargs.values()):
        if isinstance(one, str) and one not in ("sum", "avg", "max", "min", "product"):
            found: dist.ProcessGroup = resolve(one)
            return found
        if type(one).__name__ == "ScriptObject" and "ProcessGroup" in str(one._type()):
            return dist.ProcessGroup.unbox(one)
    return dist.group.WORLD  # type: ignore[return-value]
