"""DeepSpeed's ZeRO: the ranks share optimizer states, gradients and weights.

Source: Rajbhandari et al. 2019, arXiv:1910.02054.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from llm.config.decides import ADDED
from llm.config.sections.training import BackendConfig, ParallelConfig, TrainingConfig
from llm.config.sections.training.held import Held
from llm.training.backend._protocol import Backend

if TYPE_CHECKING:
    from llm.training.rank.mesh import Mesh
    from llm.training.rank.task import Task

BUCKET_ELEMENTS = 50_000_000
"""Gradients that are sent together."""


class DeepSpeed(BackendConfig):
    """DeepSpeed's engine."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 1
    """ZeRO stage: 0, 1 (optimizer states split over the ranks), 2 (gradients too) or 3 (weights too)."""
    offload: Annotated[Literal["cpu"] | None, ADDED] = None
    """Memory of optimizer states, which are updated there, and in stage 3 of weights; None: the device's; cpu: the
    host's. It needs stage 1, 2 or 3."""

    @property
    def gives_parameters(self) -> bool:
        """From stage 1 the optimizer gets one flat share of each of its groups."""
        return self.zero_stage == 0

    def build(self, task: Task, mesh: Mesh, training: TrainingConfig) -> Backend:
        """An engine over all ranks."""
        from llm.training.backend._zero.sharded import ZeroSharded
        from llm.training.backend._zero.whole import Zero

        kind = ZeroSharded if self.zero_stage == 3 else Zero
        return kind(task, mesh, training, self)

    def holds(self, parallel: ParallelConfig) -> Held:
        """From stage 1 a share of the states and of a second copy of the weights, from 2 of gradients, in 3 of all."""
        if self.zero_stage == 0:
            return Held()
        ranks, buckets = parallel.world_size, BUCKET_ELEMENTS
        if self.zero_stage == 3:
            away = frozenset(() if self.offload is None else ("weights", "gradients", "states"))
            return Held(ranks, ranks, ranks, copies=bool(away), gathers=True, on_host=away, bucket_values=buckets)
        away = frozenset(() if self.offload is None else ("states",))
        gradients = ranks if self.zero_stage == 2 else 1
        return Held(gradients=gradients, states=ranks, copies=True, on_host=away, bucket_values=buckets)
