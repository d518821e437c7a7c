"""The speed of a training: tokens a second, share of the machine's peak, time left.

MFU (model FLOPs utilisation) is the model's own arithmetic (`llm.model.flops_per_token`) over the most that the ranks
could do. On a CPU no data sheet says that, so it is measured at start: all ranks multiply square matrices at the same
time, in the training's precision. Source of the measure: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
"""

from __future__ import annotations

import time
from collections import deque

WINDOW = 20


class Wait:
    """The time that the loop waited for something: `with` around each wait."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __enter__(self) -> None:
        """Begin to wait."""
        self._began = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        """Go on."""
        self._seconds += time.perf_counter() - self._began

    def take(self) -> float:
        """Seconds since it was asked last."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class Speedometer:
    """Speed over the last steps; one slow step (a checkpoint, a look at the validation split) is smoothed."""

    def __init__(self, flops_per_token: int, peak_flops: float) -> None:
        self._flops_per_token = flops_per_token
        self._peak_flops = peak_flops
        self._tokens = 0
        self._ends: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)], maxlen=WINDOW + 1)

    def step(self, tokens: int) -> None:
        """A step of so many tokens over all ranks has ended."""
        self._tokens += tokens
        self._ends.append((time.perf_counter(), self._tokens))

    @property
    def tokens_per_second(self) -> float:
        """Over all ranks."""
        (begin, before), (end, tokens) = self._ends[0], self._ends[-1]
        return (tokens - before) / (end - begin)

    @property
    def mfu(self) -> float:
        """Share of the measured peak, 0 to 1."""
        return self.tokens_per_second * self._flops_per_token / self._peak_flops
