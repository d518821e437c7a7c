"""Ranks by meaning: who shares what with whom.

All ranks are a grid: pipeline x replicas x shard x context x tensor, the last one changing fastest, so that ranks that
talk most (tensor) are neighbours on a node. The loader, the validation and the meters ask for their share here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from llm.config.sections.training import ParallelConfig

Found = TypeVar("Found")
NAMES = ("pipeline", "replicas", "shard", "context", "tensor")


@dataclass(frozen=True)
class Mesh:
    """The place of this rank among all ranks of the default process group."""

    rank: int
    """Number of this rank among all."""
    ranks: int
    """All ranks."""
    tensor: int = 1
    """Ranks that share each matrix."""
    context: int = 1
    """Ranks that share each sequence."""
    pipeline: int = 1
    """Ranks that share the layers."""
    replicas: int = 1
    """Copies of the sharded weights."""
    _made: dict[str, DeviceMesh] = field(default_factory=dict, compare=False)

    @classmethod
    def here(cls, parallel: ParallelConfig | None = None) -> Mesh:
        """That of this process; without a configuration all ranks share the data and nothing else."""
        rank, ranks = dist.get_rank(), dist.get_world_size()
        if parallel is None:
            return cls(rank, ranks)
        return cls(rank, ranks, parallel.tensor, parallel.context, parallel.pipeline, parallel.replicas)

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for all: it writes the log and what lies in a checkpoint once."""
        return self.rank == 0

    @property
    def shares(self) -> int:
        """Shares that each batch is cut into."""
        return self.ranks // (self.tensor * self.context * self.pipeline)

    @property
    def share(self) -> int:
        """Number of this rank's share of the data."""
        return self.rank // (self.tensor * self.context) % self.shares

    @property
    def stage(self) -> int:
        """Number of this rank's stage of the pipeline."""
        return self.rank // (self.ranks // self.pipeline)

    @property
    def is_first_of_stage(self) -> bool:
        """Whether this rank speaks for those that have the same layers."""
        return self.rank % (self.ranks // self.pipeline) == 0

    def grid(self, kind: str) -> DeviceMesh:
        """torch's mesh of all ranks by meaning, on devices of a kind; all ranks make it at the same moment."""
        if "grid" not in self._made:
            shape = (self.pipeline, self.replicas, self.shares // self.replicas, self.context, self.tensor)
            self._made["grid"] = init_device_mesh(kind, shape, mesh_dim_names=NAMES)
        return self._made["grid"]

    def weights(self, kind: str) -> DeviceMesh:
        """torch's mesh of the ranks that hold the weights together: their copies, if there are any, and shards.

        Ranks that share a sequence share the weights too: to the weights they are ranks with other data.
        """
        if "weights" not in self._made:
            shape = (self.pipeline, self.replicas, self.shares // self.replicas * self.context, self.tensor)
            whole = init_device_mesh(kind, shape, mesh_dim_names=("pipeline", "replicas", "shard", "tensor"))
            for name in ("replicas", "shard", "tensor"):
                self._made[name] = whole[name]
            self._made["weights"] = whole["replicas", "shard"] if self.replicas > 1 else whole["shard"]
        return self._made["weights"]

    def of_tensor(self, kind: str) -> DeviceMesh:
        """torch's mesh of the ranks that share each matrix with this one."""
        self.weights(kind)
        return self._made["tensor"]

    def axes(self, kind: str) -> dict[str, DeviceMesh]:
        """torch's mesh of each meaning that more than one rank has, by its name."""
        self.weights(kind)
        found = {name: self._made[name] for name in ("replicas", "shard", "tensor")}
        if self.context > 1:
            found["context"] = self.grid(kind)["context"]
        if self.pipeline > 1:
            found["pipeline"] = self.grid(kind)["pipeline"]
        return {name: mesh for name, mesh in found.items() if mesh.size() > 1}

    def agreed(self, of_the_first: Callable[[], Found]) -> Found:
        """The answer of the first rank, on all ranks."""
        answer: list[Any] = [of_the_first() if self.is_first else None]
        dist.broadcast_object_list(answer)
        found: Found = answer[0]
        return found

    def sums(self, *values: float) -> list[float]:
        """The sum of each value over all ranks, in one reduction."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def begin_sums(self, values: Tensor) -> dist.Work:
        """Begin to sum a tensor over all ranks, in place; the answer is for `Device.read_later`."""
        work: dist.Work = dist.all_reduce(values, async_op=True)
        return work

    def largest(self, value: float) -> float:
        """The largest value of all ranks."""
        return self._reduced((value,), dist.ReduceOp.MAX)[0]

    def _reduced(self, values: tuple[float, ...], how: dist.ReduceOp.RedOpType) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=how)
        found: list[float] = tensor.tolist()
        return found
