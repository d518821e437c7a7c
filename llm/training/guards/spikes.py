"""Spikes: the update of a step whose loss or gradient norm is far above those before it is skipped.

The limit is the mean of the last steps and some of their standard deviations. Loss and norm are the same on all ranks
before the update, so all ranks skip alike. A spike does not count among the last steps: a few of them would lift the
limit above the next ones. When too many follow each other, the training ends, and forgets the window: if the level has
changed for good, a training that goes on learns the new one. The window is what the history says of the last steps, so
a training that continues judges as the one that went straight on. The rule is that of OLMo-core's SkipStepOptimizer,
which counts spikes too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from llm.errors import UserError
from llm.runs.event_kinds import UpdateSkipped
from llm.training.callbacks._callback import Callback, StepDone
from llm.training.callbacks._save import Save
from llm.training.guards.rollback import can_go_back, count, roll_back

if TYPE_CHECKING:
    from llm.config.sections.training.guards import GuardsConfig
    from llm.training.trainer import Trainer


class Spikes(Callback):
    """Judges each update, tells of those that were skipped, and ends a training that has nothing but spikes."""

    def __init__(self, guards: GuardsConfig) -> None:
        assert guards.spike_deviations is not None
        self._guards, self._deviations, self._stop_after = guards, guards.spike_deviations, guards.stop_after_spikes
        self._last: deque[tuple[float, float]] = deque(maxlen=guards.spike_window)
        """Loss and gradient norm of the last steps that were no spikes."""
        self._needed = guards.spike_window // 2
        self._in_a_row = 0

    def limits(self) -> tuple[float, float]:
        """Loss and gradient norm above which a step is a spike; infinite while too few steps are known."""
        if len(self._last) < self._needed:
            return math.inf, math.inf
        loss, norm = (_limit(values, self._deviations) for values in zip(*self._last, strict=True))
        return loss, norm

    def is_spike(self, loss: float, norm: float) -> bool:
        """Whether the update is to be skipped. A number that is none is no spike: the training diverged."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return False
        largest_loss, largest_norm = self.limits()
        return loss > largest_loss or norm > largest_norm

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """Take the last steps from the history, which the first rank has."""
        self._last.clear()
        self._in_a_row = 0
        for line in trainer.history:
            if line.get("grad_norm") is not None:
                self._take(line["loss"], line["grad_norm"], is_spike="skipped" in line)
        state: list[Any] = [list(self._last), self._in_a_row]
        dist.broadcast_object_list(state)
        self._last.extend(state[0])  # of the first rank it is the same again
        self._in_a_row = state[1]

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Tell of a spike. Raises BeginsAgain, or UserError after a checkpoint, after too many one after another."""
        if not math.isfinite(done.grad_norm):  # too large for fp16
            return
        limits = self.limits()
        self._take(done.loss, done.grad_norm, is_spike=done.skipped)
        if not done.skipped:
            return
        if trainer.mesh.is_first:
            trainer.log.emit(UpdateSkipped(
                step=done.number, loss=done.loss, loss_limit=limits[0], grad_norm=done.grad_norm,
                grad_norm_limit=limits[1], in_a_row=self._in_a_row,
            ))  # fmt: skip
        if self._in_a_row == self._stop_after and not done.is_last:
            point = self._guards.rollback_point(done.number)
            is_allowed = point is not None and count(trainer) < self._guards.stop_after_rollbacks
            if point is not None and is_allowed and can_go_back(trainer, point):
                roll_back(trainer, done.number, point)
            Save().save(trainer, done.number)
            raise UserError(
                f"{self._in_a_row} spikes in a row, up to step {done.number}: their updates were skipped, and the"
                " training ends",
                "Its last checkpoint has the weights from before them: run again to go on with the next batches.",
                "If they come back, lower training.optimizer.lr, or look into the data.",
            )

    def _take(self, loss: float, norm: float, *, is_spike: bool) -> None:
        self._in_a_row = self._in_a_row % self._stop_after + 1 if is_spike else 0
        if not is_spike:
            self._last.append((loss, norm))
        elif self._in_a_row == self._stop_after:
            self._last.clear()


def _limit(values: Sequence[float], deviations: float) -> float:
    """Mean and deviation with sums that round once, so that they are the same on all machines."""
    mean = math.fsum(values) / len(values)
    return mean + deviations * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
