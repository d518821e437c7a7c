"""The methods that the trainer asks of a backend.

The trainer owns the loop, the data, the schedule and the checkpoints; a backend owns how gradients are shared and
where optimizer states live. A rank's state is the part that only that rank has (its share under ZeRO).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llm.config import TrainingConfig
    from llm.model import Decoder


class Backend(Protocol):
    """Data-parallel training of one model over the ranks of the default process group.

    One optimizer step is, for each micro-batch: `begin`, the forward pass of the module that `wrap` returned,
    `backward`; then one `clip_and_step`.
    """

    def wrap(self, model: Decoder, config: TrainingConfig) -> nn.Module:
        """Take charge of a model; returns the module that the trainer calls in its place."""

    def begin(self, *, last: bool) -> None:
        """A micro-batch comes; only the `last` one of a step needs to send something to other ranks."""

    def backward(self, loss: Tensor) -> None:
        """Add a micro-batch's gradients; the loss is already divided by the number of micro-batches."""

    def clip_and_step(self, lr: float) -> float:
        """Average over the ranks, clip, update, reset; returns the norm before clipping."""

    def state_dict(self) -> dict[str, Any] | None:
        """This rank's optimizer state; None if rank 0's is that of all ranks."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` gave on the same rank of as many ranks; the weights are loaded before."""
