"""The schedules that a name chooses."""

from __future__ import annotations

import math

import pytest

from llm.config.sections.training import ScheduleConfig
from llm.errors import UserError
from llm.training.schedule import learning_rate
from llm.training.schedule.cosine import Cosine

COSINE = Cosine(warmup_fraction=0.1, min_lr_fraction=0.1)


def test_the_rate_rises_linearly_then_falls_to_the_floor():
    rates = [learning_rate(COSINE, 1.0, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10 + 89 // 2] == pytest.approx(0.55, abs=0.02)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_rate_is_positive_in_the_shortest_training(steps: int):
    assert all(0 < learning_rate(COSINE, 1.0, step, steps) <= 1 for step in range(steps))


def test_the_rate_is_a_share_of_the_peak():
    assert [learning_rate(COSINE, 3e-3, step, 10) / 3e-3 for step in range(10)] == pytest.approx(
        [learning_rate(COSINE, 1.0, step, 10) for step in range(10)]
    )


class Constant(ScheduleConfig):
    """Any value, as a module of a user may give it."""

    value: object = None

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        return self.value  # type: ignore[return-value]


@pytest.mark.parametrize("value", [None, "fast", math.nan, math.inf, -1e-3])
def test_a_schedule_that_gives_no_rate_is_refused_by_its_name(value: object):
    schedule = Constant(value=value, warmup_fraction=0.1)
    with pytest.raises(UserError, match=rf":Constant gives the learning rate {value!r} at step 2 of 10\n"):
        learning_rate(schedule, 1.0, 1, 10)
