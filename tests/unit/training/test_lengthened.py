"""A training that is lengthened when its rate has begun to fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llm.runs.event_kinds import TrainResumed, Warned
from llm.storage import LocalObjects
from llm.training.checkpoint.find import checkpoint_name, checkpoint_names
from llm.training.schedule import learning_rate, steps_before_fall
from llm.training.schedule.constant import Constant
from llm.training.schedule.cosine import Cosine
from llm.training.schedule.wsd import Wsd
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
WSD = Wsd(warmup_fraction=0.1, decay_fraction=0.4)


def history(schedule: Any, done: int, steps: int) -> list[dict[str, float]]:
    lines = [{"step": step + 1, "lr": learning_rate(schedule, 3e-3, step, steps)} for step in range(done)]
    return [*lines[:5], {"step": 5, "validation_loss": 2.0}, *lines[5:]]


@pytest.mark.parametrize(("done", "before"), [(64, None), (65, 64), (100, 64)])
def test_the_fall_of_a_longer_training_comes_later(done: int, before: int | None):
    assert learning_rate(WSD, 3e-3, 63, 100) == 3e-3 > learning_rate(WSD, 3e-3, 64, 100)
    assert steps_before_fall(history(WSD, done, 100), WSD, 3e-3, 200) == before
    assert steps_before_fall(history(WSD, done, 100), WSD, 3e-3, 100) is None
    assert steps_before_fall(history(WSD, done, 100), WSD, 3e-3, 101) in (None, before)


def test_a_cosine_falls_from_its_warmup_on_and_a_constant_rate_never():
    cosine = Cosine(warmup_fraction=0.1)
    assert steps_before_fall(history(cosine, 50, 100), cosine, 3e-3, 101) == 11
    assert steps_before_fall(history(cosine, 50, 100), cosine, 3e-3, 200) == 19, "the longer warm-up ends there"
    assert steps_before_fall(history(Constant(), 50, 100), Constant(), 3e-3, 200) is None
    assert steps_before_fall(history(Constant(), 50, 100), Constant(), 3e-3, 51) is None


SCHEDULE = {"schedule": {"name": "wsd", "warmup_fraction": 0.1, "decay_fraction": 0.5}}  # falls after step 6 of 12


def test_it_goes_on_from_the_last_checkpoint_before_the_fall(make_trainer: Make, workspace: LocalObjects):
    kept = {**SCHEDULE, "checkpoints.every_steps": 2, "checkpoints.keep": 9}
    make_trainer({**kept, "length.steps": 12}).train(12)
    longer = make_trainer({**kept, "length.steps": 20})
    longer.train(20)
    (warning,) = longer.log.of_kind(Warned)
    assert warning.message == (
        "the learning rate began to fall after step 6, for a shorter training: the training goes on from"
        " step-00000006, and later checkpoints are removed"
    )
    assert [event.step for event in longer.log.of_kind(TrainResumed)] == [6]
    rates = [line["lr"] for line in longer.history if "lr" in line]
    assert len(rates) == 20
    assert rates[6:] == [learning_rate(longer.config.schedule, 1e-2, step, 20) for step in range(6, 20)]
    again = make_trainer({**kept, "length.steps": 20})
    again.train(20)
    assert len(again.log.of_kind(Warned)) == 1, "nothing fell early in what it goes on from now"


def test_later_checkpoints_are_removed_before_the_next_save(make_trainer: Make, workspace: LocalObjects):
    kept = {**SCHEDULE, "checkpoints.every_steps": 3, "checkpoints.keep": 9}
    make_trainer({**kept, "length.steps": 12}).train(12)
    longer = make_trainer({**kept, "length.steps": 20, "checkpoints.keep": 2})
    longer.request_stop(15)
    with pytest.raises(Exception, match="stopped on request at step 7 of 20"):
        longer.train(20)
    assert checkpoint_names(workspace)[-1] == checkpoint_name(7)


@pytest.mark.parametrize("schedule", [SCHEDULE, {"schedule": {"name": "cosine", "warmup_fraction": 0.1}}])
def test_without_an_earlier_checkpoint_it_says_that_the_fall_is_in_the_weights(make_trainer: Make, schedule: Any):
    make_trainer({**schedule, "length.steps": 12, "checkpoints.every_steps": 12}).train(12)
    longer = make_trainer({**schedule, "length.steps": 20, "checkpoints.every_steps": 12})
    longer.train(20)
    (warning,) = longer.log.of_kind(Warned)
    assert warning.message.endswith("that fall is in the weights that the training goes on from")
    assert [event.step for event in longer.log.of_kind(TrainResumed)] == [12]
