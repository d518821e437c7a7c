"""Warm-up, stable, decay: the peak for most of the training, and a short fall at its end.

Sources: Hu et al. 2024, arXiv:2404.06395, section 4; the decay by a square root: Hägele et al. 2024, arXiv:2405.18392.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from llm.config.sections.base import Fraction
from llm.config.sections.training import ScheduleConfig


class Wsd(ScheduleConfig):
    """The peak, then down to a floor in the last steps."""

    holds_until_fall: ClassVar[bool] = True

    decay_fraction: Fraction = 0.2
    """Share of the steps after the warm-up in which the rate falls."""
    decay: Literal["linear", "sqrt"] = "linear"
    """Shape of the fall: by the same amount in every step, or by 1 minus the root of the way."""
    min_lr_fraction: Fraction = 0.0
    """Learning rate that the fall ends at, one step after the last, as a share of the peak."""

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        """The peak up to the fall; every step of the fall is below the one before."""
        falling = max(1, round(self.decay_fraction * steps)) if self.decay_fraction else 0
        way = max(0, step - (steps - falling) + 1) / (falling + 1)
        left = 1 - (way if self.decay == "linear" else math.sqrt(way))
        return peak * (self.min_lr_fraction + (1 - self.min_lr_fraction) * left)
