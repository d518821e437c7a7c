"""The facts that a callback learns of the training, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.training.checkpoint.pieces import Group
    from llm.training.trainer import Trainer


@dataclass(frozen=True)
class StepDone:
    """One optimizer step, as it ended; equal on all ranks."""

    number: int
    """Steps that are done, this one included: from 1."""
    steps: int
    """Steps of the whole training."""
    loss: float
    """Mean over the global batch, in nats a token."""
    grad_norm: float
    """Norm of the gradients before they were clipped."""
    lr: float
    """Peak parameter group's learning rate in this step."""
    memory_bytes: int
    """Peak resident memory of all ranks together."""
    stop_requested: bool
    """Whether a rank was asked to stop, or the budget is spent: a checkpoint is saved now, and the training is left."""
    skipped: bool = False
    """Whether the weights stayed as they were: a gradient was too large for fp16 (its norm is none), or a spike."""
    device_seconds: float = 0.0
    """Time of all ranks in all attempts."""
    groups: Sequence[Group] = ()
    """Settings of the optimizer's groups in this step, and of the loss scale after it."""

    @property
    def is_last(self) -> bool:
        """Whether the training is over."""
        return self.number == self.steps


class Callback:
    """A behaviour that is added to the training, with its own state.

    Every rank has a callback of its own and calls it at the same moments, so it may talk to the other ranks. Its
    settings are part of the training's recipe, since a callback may change the result.
    """

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """The training begins with the step of this number (from 0), or continues with it; the state is loaded."""

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """A step has ended. An error here ends the training; raise it on all ranks."""

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """Whether `step_ended` needs weights and states as they are after so many steps; the same on all ranks.

        If no callback does, a GPU may already work on the next step. True is always right.
        """
        return True

    def left(self, trainer: Trainer) -> None:
        """The training is left, for whatever reason: at its end, by an error, or for a stop."""

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint, in JSON; that of rank 0 is saved. Law: `load(state())` changes nothing."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state that `state` gave, on every rank."""
