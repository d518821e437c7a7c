from __future__ import annotations

from pathlib import Path

import pytest

from llm.report.training import read_training
from llm.runs.event_kinds import TrainPlan, TrainStep, TrainValidation
from llm.runs.events import EventLog
from llm.storage.products import CheckpointCounts


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def go(log: EventLog, start: int, until: int, loss: float) -> None:
    log.emit(TrainPlan(start=start, steps=10, tokens_per_step=100, parameters=9, world_size=1, backend="torch"))
    for step in range(start + 1, until + 1):
        log.emit(
            TrainStep(step=step, steps=10, tokens=100 * step, loss=loss, tokens_per_second=50.0, memory_bytes=step)
        )
    log.emit(TrainValidation(step=until, loss=loss + 1))


def test_a_step_that_was_done_again_counts_as_it_was_done_last(log: EventLog):
    go(log, 0, 5, loss=4.0)
    go(log, 3, 6, loss=2.0)
    training = read_training(log.path, None, None)
    assert training.loss == [(1, 4.0), (2, 4.0), (3, 4.0), (4, 2.0), (5, 2.0), (6, 2.0)]
    assert training.validation_loss == [(6, 3.0)]
    assert training.resumed == [3]
    assert training.memory_bytes == 6


def test_a_training_from_the_beginning_forgets_the_one_before(log: EventLog):
    go(log, 0, 5, loss=4.0)
    go(log, 0, 2, loss=1.0)
    training = read_training(log.path, None, None)
    assert training.loss == [(1, 1.0), (2, 1.0)]
    assert training.last.step == 2


def test_the_checkpoints_history_goes_before_the_events(log: EventLog):
    go(log, 0, 2, loss=4.0)
    history = [{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.0}, {"step": 2, "validation_loss": 3.2}]
    training = read_training(log.path, history, CheckpointCounts(steps=2, tokens=200))
    assert (training.loss, training.validation_loss) == ([(1, 3.5), (2, 3.0)], [(2, 3.2)])
    assert training.speeds == [(1, 50.0), (2, 50.0)]


def test_events_of_another_training_are_not_taken_for_this_checkpoints(log: EventLog):
    go(log, 0, 2, loss=4.0)
    training = read_training(log.path, [{"step": 1, "loss": 3.5}], CheckpointCounts(steps=1, tokens=999))
    assert training.speeds == ()
    assert (training.plan, training.last, training.tokens) == (None, None, 999)


def test_without_events_nothing_is_known(tmp_path: Path):
    training = read_training(tmp_path / "none.jsonl", None, None)
    assert (training.loss, training.last, training.memory_bytes) == ([], None, None)
