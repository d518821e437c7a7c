"""A DeepSpeed engine: optimizer states (stage 1) and gradients (stage 2) are split over the ranks.

The optimizer is torch's own, so that DeepSpeed compiles no operator at its start. Weights stay float32.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llm.config import TrainingConfig
from llm.model import Decoder
from llm.training.backend._optimizer import optimizer_of
from llm.training.optimizer import set_lr

BUCKET_ELEMENTS = 50_000_000


class Zero:
    """A DeepSpeed engine over the default process group."""

    def __init__(self, stage: int) -> None:
        self._stage = stage

    def wrap(self, model: Decoder, config: TrainingConfig) -> nn.Module:
        """Build the engine; the ranks start with equal weights, drawn from the same seed."""
        deepspeed = _import_deepspeed()
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=optimizer_of(config, model), config=engine_config(config, self._stage),
            dist_init_required=False,
        )  # fmt: skip
        engine: nn.Module = self._engine
        return engine

    def begin(self, *, last: bool) -> None:
        """Stage 2 sends every micro-batch's gradients, the others the last one's."""
        self._engine.set_gradient_accumulation_boundary(last)

    def backward(self, loss: Tensor) -> None:
        """The trainer has divided the loss already, so the engine does not."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def clip_and_step(self, lr: float) -> float:
        """Reduce, clip, update the rank's share and gather the weights."""
        set_lr(self._optimizer, lr)
        norm = None if self._engine.zero_optimization() else self._gradient_norm()
        self._engine.step()
        return float(self._engine.get_global_grad_norm() if norm is None else norm)

    def state_dict(self) -> dict[str, Any] | None:
        """The rank's share of moments and float32 weights; without ZeRO the same on all ranks."""
        shared = not self._engine.zero_optimization() and dist.get_rank() > 0
        return None if shared else self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the rank's share."""
        if self._engine.zero_optimization():
            shares: list[dict[str, Any] | None] = [None] * dist.get_world_size()
            shares[dist.get_rank()] = state  # DeepSpeed wants the list, and reads only its own place in it
            self._optimizer.load_state_dict(shares, load_optimizer_states=True, load_from_fp32_weights=True)
        else:
            self._optimizer.load_state_dict(state)

    def _gradient_norm(self) -> Tensor:
        """Norm of the averaged gradients, which the engine does not give without ZeRO."""
        gradients = [p.grad for p in self._engine.module.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)


def _import_deepspeed() -> Any:
    """DeepSpeed without its messages and without two things that it does at its start."""
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    hidden = sys.modules.get("mlflow")
    sys.modules["mlflow"] = None  # type: ignore[assignment]  # only its autotuner needs it, and it takes four fifths of the import's time
    try:
        import deepspeed
    finally:
        del sys.modules["mlflow"]
        if hidden is not None:
            sys.modules["mlflow"] = hidden
    # It would compile its own all-reduce at the first start (a minute, and a compiler); that of gloo is enough.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def engine_config(config: TrainingConfig, stage: int) -> dict[str, Any]:
    """DeepSpeed's own configuration for a training."""
    sequences = config.batch.tokens // config.batch.sequence_length
    return {
        "train_batch_size": sequences,
        "train_micro_batch_size_per_gpu": config.batch.micro_batch_size,
        "gradient_accumulation_steps": sequences // config.parallel.world_size // config.batch.micro_batch_size,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": False,
            "contiguous_gradients": False,
            "reduce_scatter": False,  # gloo has none
            "reduce_bucket_size": BUCKET_ELEMENTS,
            "allgather_bucket_size": BUCKET_ELEMENTS,
        },
        "zero_allow_untested_optimizer": True,  # the fused AdamW is torch's own
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
