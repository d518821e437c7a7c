"""A step that was begun: its numbers (loss, norm, who was asked to stop) come when the device has made them.

A host only queues the work of a GPU. If it read a step's numbers before it queued the next step, the GPU would stand
still each time. So the trainer queues the next step first, unless somebody needs the training as it is after this one
(`Callback.needs_state`). All ranks decide alike: by the number of the step, and by numbers that all of them have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import torch

from llm.training.callbacks import StepDone
from llm.training.guards.divergence import refuse_divergence

if TYPE_CHECKING:
    from torch import Tensor

    from llm.training.backend import StepResult
    from llm.training.backend._protocol import MayUpdate
    from llm.training.checkpoint.pieces import Group
    from llm.training.trainer import Trainer


class Begun:
    """A step of one rank, from its beginning until its numbers are there."""

    def __init__(self, trainer: Trainer, number: int, steps: int, lr: float) -> None:
        """`number`: that of the step, from 0."""
        self._trainer, self._number, self._steps, self.lr = trainer, number, steps, lr
        self._read: Callable[[], list[float]] | None = None
        self._skipped = False
        self._groups: list[Group] = []

    @property
    def asked(self) -> dict[str, MayUpdate]:
        """The argument of the backend's step: where spikes are looked for, the numbers are read before the update."""
        return {} if self._trainer.spikes is None else {"may_update": self._may_update}

    def queued(self, result: StepResult) -> Self:
        """The backend has queued all of it."""
        if self._read is None:
            self._send(result.loss, result.norm)
        self._skipped, self._groups = result.skipped, self._trainer.backend.groups()
        return self

    def done(self) -> StepDone:
        """Wait for the numbers, and judge them; raises UserError on all ranks if the training diverged.

        Raises the error of a save that has failed meanwhile.
        """
        assert self._read is not None
        loss, stop, memory, failed, seconds, norm, own_loss = self._read()
        trainer = self._trainer
        if failed:
            trainer.saver.wait()  # which raises it, on all ranks
        refuse_divergence(trainer, self._number, loss, None if self._skipped else norm, own_loss)
        spent = trainer.budget.total(seconds)
        stops = stop > 0 or bool(trainer.budget.config.reached(spent))
        return StepDone(
            self._number + 1, self._steps, loss, norm, self.lr, int(memory), stops, self._skipped, spent, self._groups
        )

    def _may_update(self, loss: Tensor, norm: Tensor) -> bool:
        assert self._trainer.spikes is not None
        read = self._send(loss, norm)
        numbers = read()
        self._read = lambda: numbers
        return not self._trainer.spikes.is_spike(numbers[0], float(norm))

    def _send(self, loss: Tensor, norm: Tensor) -> Callable[[], list[float]]:
        """Begin the one reduction of the step: the loss of the batch, stops, memory, failed saves, rank 0's time."""
        trainer, mesh = self._trainer, self._trainer.mesh
        own = (
            trainer.is_stopping, trainer.device.memory_bytes(), trainer.saver.has_failed,
            trainer.budget.own_seconds() if mesh.is_first else 0.0,
        )  # fmt: skip
        sums = torch.cat([
            (loss.double() / mesh.ranks).reshape(1), torch.tensor(own, dtype=torch.float64).to(loss.device)
        ])  # fmt: skip
        self._read = trainer.device.read_later(mesh.begin_sums(sums), sums, norm, loss)
        return self._read
