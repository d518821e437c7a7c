"""The warm-up, which every schedule has: the rate rises linearly to its peak."""

from __future__ import annotations

from llm.config.sections.training import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """Rate of the step with this number (from 0) in a training of `steps`."""
    warmup = max(1, round(schedule.warmup_fraction * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    return schedule.rate_after_warmup(peak, step - warmup, steps - warmup)
