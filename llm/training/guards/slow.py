"""Slow ranks: one whose device takes far longer than the others' for the same product of matrices holds all of them up.

A step cannot tell who is slow: all ranks wait for each other in it. So every few steps each rank multiplies the same
two matrices by itself, and all ranks learn all times. A rank is named when it was slow a few times in a row.
"""

from __future__ import annotations

import socket
import statistics
from typing import TYPE_CHECKING

import torch.distributed as dist

from llm.runs.event_kinds import RankSlow
from llm.training.callbacks._callback import Callback, StepDone

if TYPE_CHECKING:
    from llm.training.trainer import Trainer

EVERY_STEPS = 20
IN_A_ROW = 3
"""Looks after which a slow rank is named: one may be a moment's load."""


class SlowRanks(Callback):
    """Compares the ranks; their result is not touched."""

    def __init__(self, factor: float) -> None:
        """`factor`: a slow rank takes so many times the median of the others."""
        self._factor = factor

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """Learn where each rank is."""
        self._hosts = [""] * trainer.mesh.ranks
        dist.all_gather_object(self._hosts, socket.gethostname())
        self._in_a_row = [0] * trainer.mesh.ranks
        trainer.device.product_seconds()  # the first one is slow on every rank

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """When it measures: the device must have nothing else to do."""
        return trainer.mesh.ranks > 1 and done % EVERY_STEPS == 0

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Measure, if it is time, and name a rank that is slow now and was at the looks before."""
        if not self.needs_state(trainer, done.number):
            return
        ranks, rank = trainer.mesh.ranks, trainer.mesh.rank
        own = trainer.device.product_seconds()
        times = trainer.mesh.sums(*(own if one == rank else 0.0 for one in range(ranks)))
        for one, seconds in enumerate(times):
            usual = statistics.median([*times[:one], *times[one + 1 :]])
            self._in_a_row[one] = self._in_a_row[one] + 1 if seconds > self._factor * usual else 0
            if self._in_a_row[one] == IN_A_ROW and trainer.mesh.is_first:
                trainer.log.emit(RankSlow(
                    step=done.number, rank=one, host=self._hosts[one], seconds=round(seconds, 6),
                    usual_seconds=round(usual, 6),
                ))  # fmt: skip
