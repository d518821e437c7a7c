"""PyTorch's own data parallelism: every rank holds all weights and all optimizer states."""

from __future__ import annotations

from llm.config.sections.training import BackendConfig
from llm.training.backend._protocol import Backend


class Torch(BackendConfig):
    """DistributedDataParallel."""

    def build(self) -> Backend:
        """DDP over the default process group."""
        from llm.training.backend._ddp import DataParallel

        return DataParallel()

    def state_bytes_per_parameter(self, ranks: int) -> float:
        """Weight, gradient and two moments, each float32."""
        return 16.0
