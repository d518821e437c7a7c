"""PyTorch's FSDP2: the ranks share weights, gradients and optimizer states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llm.config.sections.training import BackendConfig, ParallelConfig, TrainingConfig
from llm.config.sections.training.held import Held
from llm.training.backend._protocol import Backend

if TYPE_CHECKING:
    from llm.training.rank.mesh import Mesh
    from llm.training.rank.task import Task


class Fsdp(BackendConfig):
    """`fully_shard`, layer by layer."""

    forms: ClassVar[frozenset[str]] = frozenset({"tensor", "context", "pipeline", "replicas"})
    asks_before_update: ClassVar[bool] = True

    reshard_after_forward: bool = True
    """Whether weights are given up between a layer's passes: less memory (as ZeRO-3), or less to send (as ZeRO-2)."""

    def build(self, task: Task, mesh: Mesh, training: TrainingConfig) -> Backend:
        """FSDP2 over all ranks."""
        from llm.training.backend._fsdp import FullyShard
        from llm.training.backend._pipeline import Pipelined

        kind = Pipelined if mesh.pipeline > 1 else FullyShard
        return kind(task, mesh, training, reshard=self.reshard_after_forward)

    def holds(self, parallel: ParallelConfig) -> Held:
        """A share of everything; a layer is whole while it computes."""
        ranks = parallel.data_shares // parallel.replicas * parallel.context
        return Held(ranks, ranks, ranks, gathers=True, keeps_gathered=not self.reshard_after_forward)
