"""Backend `torch`: DistributedDataParallel, gradients averaged while the backward pass still runs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from llm.config import TrainingConfig
from llm.model import Decoder
from llm.training.backend import adamw, set_lr


class TorchBackend:
    """DDP over the default process group (NCCL or gloo); every rank holds the whole optimizer state."""

    def wrap(self, model: Decoder, config: TrainingConfig) -> nn.Module:
        """Broadcasts rank 0's weights, so that all ranks start alike."""
        self._max_grad_norm = config.max_grad_norm
        self._optimizer = adamw(model, config)
        self._model = DistributedDataParallel(model, gradient_as_bucket_view=True, broadcast_buffers=False)
        return self._model

    def backward(self, loss: Tensor, last: bool) -> None:
        """Only the last micro-batch's gradients are sent, summed with those before it."""
        with nullcontext() if last else self._model.no_sync():
            loss.backward()  # type: ignore[no-untyped-call]

    def clip_and_step(self, lr: float) -> float:
        """Clip by the global norm and update."""
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._max_grad_norm)
        set_lr(self._optimizer, lr)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)
        return float(norm)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up moments and step counts."""
        self._optimizer.load_state_dict(state)
