"""The methods that the trainer asks of a backend.

The trainer owns the loop, the data, the schedule and the checkpoints; a backend owns a whole optimizer step: how
gradients are shared, and where weights and optimizer states live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from llm.training.checkpoint.pieces import Group, Saved, States

    Batch = tuple[Tensor, Tensor]
    MayUpdate = Callable[[Tensor, Tensor], bool]
    """Whether the update is made, from `StepResult`'s loss and norm; all ranks ask at the same moment."""


@dataclass(frozen=True)
class StepResult:
    """One optimizer step as a rank sees it; tensors, so that nothing waits for their values inside the step."""

    loss: Tensor
    """This rank's mean over its micro-batches, float64, in nats a token; the mean of all ranks is the batch's."""
    norm: Tensor
    """Norm of all gradients before they were clipped, the same on all ranks."""
    skipped: bool = False
    """Whether nothing was updated, on all ranks: a gradient was too large for fp16, or `may_update` said no."""


class Backend(Protocol):
    """A task on the ranks of a mesh, as `BackendConfig.build` made it: all ranks hold the same weights."""

    def step(self, batches: Sequence[Batch], rate: float, may_update: MayUpdate | None = None) -> StepResult:
        """Average the gradients of these micro-batches over them and over the ranks, clip, update, reset.

        `may_update` comes only if the section says `asks_before_update`.
        """

    def evaluate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean loss of a batch of this rank; every rank calls it equally often."""

    def weights(self, owners: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """Whole parameters by name: at least those that `owners` gives to this rank (else all to the first).

        All ranks call it.
        """

    def states(self) -> States:
        """This rank's pieces of the optimizer's states: those of all ranks together hold each value once."""

    def groups(self) -> list[Group]:
        """Settings of the optimizer's groups, which some optimizers change as they go, and of the loss scale."""

    def load(self, saved: Saved) -> None:
        """Restore weights, states and groups that any backend on any number of ranks saved."""
