"""The schedules that a name chooses."""

from __future__ import annotations

import math

import pytest

from llm.config.sections.training import ScheduleConfig
from llm.errors import UserError
from llm.training.schedule import learning_rate
from llm.training.schedule.constant import Constant
from llm.training.schedule.cosine import Cosine
from llm.training.schedule.inverse_square_root import InverseSquareRoot
from llm.training.schedule.wsd import Wsd

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


OTHERS = [
    Constant(), Wsd(), Wsd(decay="sqrt", decay_fraction=0.5, min_lr_fraction=0.1), Wsd(decay_fraction=0),
    Wsd(decay_fraction=1), InverseSquareRoot(), InverseSquareRoot(scale_steps=1),
]  # fmt: skip


@pytest.mark.parametrize("schedule", OTHERS, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_no_schedule_rises_after_the_warmup_or_comes_to_nothing(schedule: ScheduleConfig, steps: int):
    rates = [schedule.rate_after_warmup(3e-3, step, steps) for step in range(steps)]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] <= rates[0] <= 3e-3


def test_wsd_holds_the_peak_and_falls_at_the_end():
    linear = [Wsd(decay_fraction=0.4).rate_after_warmup(1.0, step, 10) for step in range(10)]
    assert linear == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    root = [Wsd(decay_fraction=0.3, decay="sqrt", min_lr_fraction=0.5).rate_after_warmup(1.0, n, 10) for n in (6, 7, 9)]
    assert root == pytest.approx([1, 0.5 + 0.5 * (1 - 0.5), 0.5 + 0.5 * (1 - math.sqrt(0.75))])


def test_a_longer_wsd_begins_as_the_shorter_one():
    short, long = ([Wsd().rate_after_warmup(1.0, step, steps) for step in range(80)] for steps in (100, 200))
    assert short == long


def test_the_inverse_square_root_is_half_after_three_times_its_scale():
    schedule = InverseSquareRoot(scale_steps=100)
    assert [schedule.rate_after_warmup(1.0, step, 9) for step in (0, 300)] == [1.0, 0.5]


class Anything(ScheduleConfig):
    """Any value, as a module of a user may give it."""

    value: object = None

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        return self.value  # type: ignore[return-value]


@pytest.mark.parametrize("value", [None, "fast", math.nan, math.inf, -1e-3])
def test_a_schedule_that_gives_no_rate_is_refused_by_its_name(value: object):
    schedule = Anything(value=value, warmup_fraction=0.1)
    with pytest.raises(UserError, match=rf":Anything gives the learning rate {value!r} at step 2 of 10\n"):
        learning_rate(schedule, 1.0, 1, 10)
