"""DeepSpeed's ZeRO: the ranks share optimizer states and gradients.

Source: Rajbhandari et al. 2019, arXiv:1910.02054.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm.config.sections.training import BackendConfig
from llm.training.backend._protocol import Backend


class DeepSpeed(BackendConfig):
    """DeepSpeed's engine."""

    zero_stage: Annotated[int, Field(ge=0, le=2)] = 1
    """ZeRO stage: 0, 1 (optimizer states split over the ranks) or 2 (gradients too)."""

    def build(self) -> Backend:
        """An engine over the default process group."""
        from llm.training.backend._zero import Zero

        return Zero(self.zero_stage)

    def state_bytes_per_parameter(self, ranks: int) -> float:
        """Weight and gradient; two moments, and from stage 1 a second copy of the weight; each float32."""
        if self.zero_stage == 0:
            return 16.0
        return 4 + 4 / (ranks if self.zero_stage == 2 else 1) + 12 / ranks
