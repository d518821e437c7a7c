"""The peak until the end: for comparisons, and for a training that is to be lengthened."""

from __future__ import annotations

from llm.config.sections.training import ScheduleConfig


class Constant(ScheduleConfig):
    """The peak at every step after the warm-up."""

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        """The peak."""
        return peak
