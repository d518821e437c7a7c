"""A checkpoint is written while the training goes on, and what goes wrong is learned at the next step."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from llm.errors import UserError
from llm.runs.event_kinds import CheckpointSaved, TrainStep
from llm.storage import LocalObjects
from llm.training.backend import StepResult
from llm.training.callbacks import _save
from llm.training.checkpoint.find import complete_names, newest_checkpoint
from llm.training.checkpoint.saver import Saver
from llm.training.resume import resume
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
EVERY_4 = {"checkpoints.every_steps": 4, "validation.every_steps": 100}
write_checkpoint = _save.write_checkpoint


def test_steps_go_on_while_a_checkpoint_is_written_and_it_holds_the_weights_of_its_step(
    make_trainer: Make, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch
):
    may_write, steps_when_written = threading.Event(), []
    trainer = make_trainer(EVERY_4)
    at_4: dict[str, torch.Tensor] = {}

    def slow(*arguments: object) -> None:
        assert may_write.wait(60)
        steps_when_written.append(trainer.log.of_kind(TrainStep)[-1].step)
        write_checkpoint(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_save, "write_checkpoint", slow)
    trainer.added = []
    step = trainer.begin

    def watched(number: int, steps: int):
        if number == 4:
            at_4.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
        if number == 6:
            may_write.set()
        return step(number, steps)

    monkeypatch.setattr(trainer, "begin", watched)
    trainer.train(7)
    assert steps_when_written[0] >= 6
    assert [event.step for event in trainer.log.of_kind(CheckpointSaved)] == [4, 7]
    workspace.remove("step-00000007/files.json")
    resumed = make_trainer(EVERY_4)
    assert resume(resumed) == 4
    assert at_4
    assert all(torch.equal(tensor, at_4[name]) for name, tensor in resumed.model.state_dict().items())


@pytest.mark.parametrize("steps", [12, 4])
def test_a_save_that_fails_ends_the_training_at_the_next_step_or_at_its_end(
    make_trainer: Make, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch, steps: int
):
    written = threading.Event()

    def fail(*_: object) -> None:
        written.set()
        raise UserError("the disk is full")

    trainer = make_trainer(EVERY_4)
    monkeypatch.setattr(_save, "write_checkpoint", fail)
    step = trainer.begin

    def after_the_failure(number: int, steps: int):
        if number == 4:
            assert written.wait(60)
            assert trainer.saver._thread is not None
            trainer.saver._thread.join()
        return step(number, steps)

    monkeypatch.setattr(trainer, "begin", after_the_failure)
    with pytest.raises(UserError, match="the disk is full"):
        trainer.train(steps)
    assert [event.step for event in trainer.log.of_kind(TrainStep)] == [1, 2, 3, 4]
    assert complete_names(workspace) == []


def test_a_training_that_is_left_ends_the_save_that_was_begun(
    make_trainer: Make, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch
):
    trainer = make_trainer(EVERY_4)
    left = threading.Event()

    def slow(*arguments: object) -> None:
        assert left.wait(60)
        write_checkpoint(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(_save, "write_checkpoint", slow)
    step, steps = trainer.backend.step, itertools.count(1)

    def diverging(*arguments: Any, **asked: Any) -> StepResult:
        result = step(*arguments, **asked)
        if next(steps) < 5:
            return result
        left.set()
        return dataclasses.replace(result, loss=torch.tensor(float("nan")))

    monkeypatch.setattr(trainer.backend, "step", diverging)
    with pytest.raises(UserError, match="the loss is nan at step 5"):
        trainer.train(12)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    assert newest.state().step == 4


def test_one_save_waits_for_the_one_before(alone: None):
    order: list[str] = []
    first_may_end = threading.Event()
    saver = Saver()

    def first() -> None:
        assert first_may_end.wait(60)
        order.append("first")

    saver.begin(first)
    threading.Timer(0.05, first_may_end.set).start()
    saver.begin(lambda: order.append("second"))
    saver.wait()
    assert order == ["first", "second"]
    assert not saver.has_failed
