"""Backend `deepspeed`: ZeRO, optimizer states (stage 1) and gradients (stage 2) split over the ranks.

Source: Rajbhandari et al. 2019, arXiv:1910.02054. The optimizer is torch's AdamW, so that DeepSpeed compiles no
operator of its own at start; weights stay float32.
"""

from __future__ import annotations

import logging
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from llm.config import TrainingConfig
from llm.model import Decoder
from llm.training.backend import adamw, set_lr

BUCKET_ELEMENTS = 50_000_000


class DeepSpeedBackend:
    """A DeepSpeed engine over the default process group."""

    def wrap(self, model: Decoder, config: TrainingConfig) -> nn.Module:
        """Build the engine; the ranks start with equal weights, drawn from the same seed."""
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        import deepspeed

        optimizer = adamw(model, config)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=engine_config(config), dist_init_required=False
        )
        engine: nn.Module = self._engine
        return engine

    def backward(self, loss: Tensor, last: bool) -> None:
        """The engine counts the micro-batches itself; what they are divided by is the trainer's business."""
        self._engine.backward(loss, scale_wrt_gas=False)
        if not last:
            self._engine.step()  # not at the boundary: only counts

    def clip_and_step(self, lr: float) -> float:
        """Reduce, clip, update the rank's share and gather the weights."""
        set_lr(self._optimizer, lr)
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    def state_dict(self) -> dict[str, Any]:
        """The rank's share of moments and float32 weights."""
        state: dict[str, Any] = self._optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the rank's share."""
        if self._engine.zero_optimization():
            shares: list[dict[str, Any] | None] = [None] * dist.get_world_size()
            shares[dist.get_rank()] = state  # DeepSpeed wants the list, and reads only its own place in it
            self._optimizer.load_state_dict(shares, load_optimizer_states=True, load_from_fp32_weights=True)
        else:
            self._optimizer.load_state_dict(state)


def engine_config(config: TrainingConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration for a training."""
    sequences = config.global_batch_tokens // config.sequence_length
    return {
        "train_batch_size": sequences,
        "train_micro_batch_size_per_gpu": config.micro_batch_size,
        "gradient_accumulation_steps": sequences // config.processes // config.micro_batch_size,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": {
            "stage": config.zero_stage,
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
