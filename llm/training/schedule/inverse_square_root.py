"""A slow fall that knows no end: the length of the training need not be known.

Sources: Vaswani et al. 2017, arXiv:1706.03762, section 5.3; with a time scale: Zhai et al. 2021, arXiv:2106.04560.
"""

from __future__ import annotations

import math

from llm.config.sections.base import PositiveInt
from llm.config.sections.training import ScheduleConfig


class InverseSquareRoot(ScheduleConfig):
    """The peak, divided by the root of the steps done."""

    scale_steps: PositiveInt = 1000
    """Steps after the warm-up at which the rate is 0.71 of the peak."""

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        """The peak at the first step; half of it after three times the scale."""
        return peak / math.sqrt(1 + step / self.scale_steps)
