"""The fall of the rate in a training that is lengthened: it belongs to the end, and the end has moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llm.config.sections.training import ScheduleConfig
from llm.training.schedule._warmup import learning_rate

ROUNDING = 1e-9


def steps_before_fall(
    history: Iterable[Mapping[str, Any]], schedule: ScheduleConfig, peak: float, steps: int
) -> int | None:
    """Steps that a training did before its rate fell below that of the same steps in a training of `steps`.

    None if it never did: it was not lengthened, or its rate had not fallen yet. The warm-up counts as no fall.
    """
    highest = 0.0
    for line in history:
        if (rate := line.get("lr")) is None:
            continue
        now = learning_rate(schedule, peak, line["step"] - 1, steps)
        if rate < highest * (1 - ROUNDING) and rate < now * (1 - ROUNDING):
            return int(line["step"]) - 1
        highest = max(highest, rate)
    return None
