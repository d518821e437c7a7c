"""How many steps fit into a given time."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch.distributed as dist

if TYPE_CHECKING:
    from llm.training.trainer import Trainer

WARM_UP_STEPS = 2
MEASURE_STEPS = 3
MEASURE_FRACTION = 0.01


def measure(trainer: Trainer) -> int:
    """Fix how many steps fit into `minutes`, by the speed of some that do not count; equal on all ranks.

    The median over MEASURE_FRACTION of the time, and at least MEASURE_STEPS, so that a moment's load does not
    halve the training. The validation takes its part of the time. The trainer is of no use afterwards.
    """
    assert trainer.config.length.minutes is not None
    seconds = trainer.config.length.minutes * 60
    times = [_timed(trainer, step) for step in range(WARM_UP_STEPS + MEASURE_STEPS)][WARM_UP_STEPS:]
    more = int(MEASURE_FRACTION * seconds / trainer.mesh.largest(statistics.median(times)))
    times += [_timed(trainer, WARM_UP_STEPS + step) for step in range(MEASURE_STEPS, more)]
    began = time.perf_counter()
    trainer.validate.loss(trainer)
    validation_seconds = (time.perf_counter() - began) / trainer.config.validation.every_steps
    fitting = max(1, int(seconds / trainer.mesh.largest(statistics.median(times) + validation_seconds)))
    if trainer.mesh.is_first:
        trainer.plan.fix_steps(fitting)
    dist.barrier()
    return fitting


def _timed(trainer: Trainer, step: int) -> float:
    started = time.perf_counter()
    trainer.step(step, 10_000)
    return time.perf_counter() - started
