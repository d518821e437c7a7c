"""The warm-up, which every schedule has: the rate rises linearly to its peak."""

from __future__ import annotations

import math
from numbers import Real

from llm.config.sections.training import ScheduleConfig
from llm.errors import UserError


def learning_rate(schedule: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """Rate of the step with this number (from 0) in a training of `steps`.

    Raises UserError for a schedule that gives no number, or one below 0: it would look like a training that diverged.
    """
    warmup = max(1, round(schedule.warmup_fraction * steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    rate: object = schedule.rate_after_warmup(peak, step - warmup, steps - warmup)
    if not isinstance(rate, Real) or not math.isfinite(rate) or rate < 0:
        raise UserError(
            f"training.schedule.name={schedule.name} gives the learning rate {rate!r} at step {step + 1} of {steps}",
            "`rate_after_warmup` must give a finite number that is not below 0.",
        )
    return float(rate)
