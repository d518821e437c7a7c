"""The speed of a training: tokens a second, share of the machine's peak, memory, time left.

MFU (model FLOPs utilisation) is the model's own arithmetic (`llm.model.flops_per_token`) over the most that the ranks
could do. On a CPU no data sheet says that, so it is measured at start: all ranks multiply square matrices at the same
time, in the training's precision. Source of the measure: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
"""

from __future__ import annotations

import resource
import time
from collections import deque

import torch

PEAK_SIZE = 1024
PEAK_SECONDS = 0.3
WINDOW = 20


def measure_peak_flops() -> float:
    """Floating-point operations a second that this rank reaches on square matrix products."""
    a, b = torch.randn(PEAK_SIZE, PEAK_SIZE), torch.randn(PEAK_SIZE, PEAK_SIZE)
    a @ b
    best, started = 0.0, time.perf_counter()
    while time.perf_counter() - started < PEAK_SECONDS:
        before = time.perf_counter()
        a @ b
        best = max(best, 2 * PEAK_SIZE**3 / (time.perf_counter() - before))
    return best


class Speedometer:
    """Speed over the last steps; one slow step (a checkpoint, a look at the validation split) is smoothed."""

    def __init__(self, tokens_per_step: int, flops_per_token: int, peak_flops: float) -> None:
        self._tokens_per_step = tokens_per_step
        self._flops_per_token = flops_per_token
        self._peak_flops = peak_flops
        self._ends: deque[float] = deque([time.perf_counter()], maxlen=WINDOW + 1)

    def step(self) -> None:
        """A step has ended."""
        self._ends.append(time.perf_counter())

    @property
    def step_seconds(self) -> float:
        """Mean time of a step in the window."""
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)

    @property
    def tokens_per_second(self) -> float:
        """Over all ranks."""
        return self._tokens_per_step / self.step_seconds

    @property
    def mfu(self) -> float:
        """Share of the measured peak, 0 to 1."""
        return self.tokens_per_second * self._flops_per_token / self._peak_flops


def memory_bytes() -> int:
    """Largest resident memory of this rank so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
