"""PyTorch's own data parallelism: every rank holds all weights and all optimizer states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llm.config.sections.training import BackendConfig, TrainingConfig
from llm.training.backend._protocol import Backend

if TYPE_CHECKING:
    from llm.training.rank.mesh import Mesh
    from llm.training.rank.task import Task


class Torch(BackendConfig):
    """DistributedDataParallel."""

    asks_before_update: ClassVar[bool] = True

    def build(self, task: Task, mesh: Mesh, training: TrainingConfig) -> Backend:
        """DDP over all ranks."""
        from llm.training.backend._ddp import DataParallel

        return DataParallel(task, mesh, training)
