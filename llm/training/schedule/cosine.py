"""Half a cosine after the warm-up. Source: Loshchilov and Hutter 2016, arXiv:1608.03983."""

from __future__ import annotations

import math

from llm.config.sections.base import Fraction
from llm.config.sections.training import ScheduleConfig


class Cosine(ScheduleConfig):
    """From the peak down to a floor, along half a cosine."""

    min_lr_fraction: Fraction = 0.1
    """Learning rate at the end, as a share of the peak."""

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        """The peak at the first step, the floor at the last one."""
        progress = step / max(1, steps - 1)
        floor = peak * self.min_lr_fraction
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
