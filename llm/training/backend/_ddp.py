"""DistributedDataParallel: gradients are averaged while the backward pass still runs."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from llm.config import TrainingConfig
from llm.model import Decoder
from llm.training.backend._optimizer import optimizer_of
from llm.training.optimizer import set_lr


class DataParallel:
    """DDP over the default process group (NCCL or gloo); every rank holds the whole optimizer state."""

    def wrap(self, model: Decoder, config: TrainingConfig) -> nn.Module:
        """Broadcasts rank 0's weights, so that all ranks start alike."""
        self._max_grad_norm = config.optimizer.max_grad_norm
        self._optimizer = optimizer_of(config, model)
        # With more than two ranks the order of a sum depends on the buckets, and DDP arranges them again after the
        # first backward pass of a process: a resumed training would differ in its first step. Looking for unused
        # parameters keeps the first arrangement.
        self._model = DistributedDataParallel(
            model, gradient_as_bucket_view=True, forward_sync_buffers=False, find_unused_parameters=True
        )
        return self._model

    def begin(self, *, last: bool) -> None:
        """Only the last micro-batch's gradients are sent, summed with those before it."""
        self._model.require_backward_grad_sync = last  # what `no_sync()` does, which would have to span the forward

    def backward(self, loss: Tensor) -> None:
        """Gradients, sent bucket by bucket if this is the last micro-batch."""
        loss.backward()  # type: ignore[no-untyped-call]

    def clip_and_step(self, lr: float) -> float:
        """Clip by the global norm and update."""
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._max_grad_norm)
        set_lr(self._optimizer, lr)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)
        return float(norm)

    def state_dict(self) -> dict[str, Any] | None:
        """Moments and step counts, the same on all ranks."""
        return self._optimizer.state_dict() if dist.get_rank() == 0 else None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore moments and step counts."""
        self._optimizer.load_state_dict(state)
