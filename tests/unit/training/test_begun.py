"""A trainer that runs ahead, as on a GPU: it begins the next step before it reads the numbers of the one before."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.errors import Preempted, UserError
from llm.runs.event_kinds import CheckpointSaved, TrainingDiverged, TrainStep, TrainValidation
from llm.storage import LocalObjects
from llm.training.begun import Begun
from llm.training.callbacks import Callback
from llm.training.checkpoint.find import complete_names
from llm.training.trainer import Trainer
from tests.cases.training import trainers

FEW_STOPS = {"checkpoints.every_steps": 5, "validation.every_steps": 8}


@pytest.fixture
def ahead(alone: None, tmp_path: Path) -> Callable[..., Trainer]:
    """Build a trainer that runs ahead; its workspace is `tmp_path / "ahead" / "work"`."""
    build = trainers(tmp_path / "ahead")

    def made(settings: dict[str, Any]) -> Trainer:
        trainer = build(settings)
        trainer.device.runs_ahead = True
        return trainer

    return made


def watched(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of what the trainer begins and reads, with the numbers of the steps from 1."""
    seen = list[str]()
    begin, done = trainer.begin, Begun.done

    def begins(number: int, steps: int) -> Begun:
        seen.append(f"begin {number + 1}")
        return begin(number, steps)

    def reads(begun: Begun) -> Any:
        found = done(begun)
        seen.append(f"read {found.number}")
        return found

    trainer.begin = begins  # type: ignore[method-assign]
    monkeypatch.setattr(Begun, "done", reads)
    return seen


def told(trainer: Trainer) -> list[tuple[int, float, float | None]]:
    return [(event.step, event.loss, event.grad_norm) for event in trainer.log.of_kind(TrainStep)]


def test_only_a_step_whose_state_is_needed_is_read_before_the_next_begins(
    ahead: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
):
    trainer = ahead(FEW_STOPS)
    seen = watched(trainer, monkeypatch)
    trainer.train(9)
    assert " ".join(seen) == (
        "begin 1 begin 2 read 1 begin 3 read 2 begin 4 read 3 begin 5 read 4 read 5"  # 5 is saved
        " begin 6 begin 7 read 6 begin 8 read 7 read 8"  # 8 is validated
        " begin 9 read 9"
    )


@pytest.mark.parametrize("settings", [
    {}, {"optimizer.name": "muon"}, {"guards.spike_deviations": 6.0}, {"compute.precision": "fp16"},
    {"parallel.backend": {"name": "fsdp"}},
])  # fmt: skip
def test_the_training_is_the_same(
    make_trainer: Callable[..., Trainer], ahead: Callable[..., Trainer], settings: dict[str, Any]
):
    usual, other = make_trainer({**FEW_STOPS, **settings}), ahead({**FEW_STOPS, **settings})
    usual.train(12)
    other.train(12)
    assert told(other) == told(usual)
    assert list(other.history) == list(usual.history)
    assert [event.loss for event in other.log.of_kind(TrainValidation)] == [
        event.loss for event in usual.log.of_kind(TrainValidation)
    ]
    for name, tensor in usual.backend.weights().items():
        assert torch.equal(tensor, other.backend.weights()[name]), name


def test_a_stop_is_learned_a_step_later_and_nothing_is_lost(
    make_trainer: Callable[..., Trainer], ahead: Callable[..., Trainer], tmp_path: Path
):
    trainer = ahead({"checkpoints.every_steps": 100})
    begin = trainer.begin

    def begins(number: int, steps: int) -> Begun:
        if number == 4:
            trainer.request_stop(signal.SIGTERM)
        return begin(number, steps)

    trainer.begin = begins  # type: ignore[method-assign]
    with pytest.raises(Preempted, match="at step 6 of 12"):
        trainer.train(12)
    assert [event.step for event in trainer.log.of_kind(TrainStep)] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in trainer.log.of_kind(CheckpointSaved)] == [6]
    assert complete_names(LocalObjects(tmp_path / "ahead" / "work")) == ["step-00000006"]
    going_on = ahead({"checkpoints.every_steps": 100})
    going_on.train(12)
    straight = make_trainer({"checkpoints.every_steps": 100})
    straight.train(12)
    for name, tensor in straight.backend.weights().items():
        assert torch.equal(tensor, going_on.backend.weights()[name]), name


@pytest.mark.parametrize("last", [6, 7])
def test_a_stop_in_the_last_steps_ends_the_training_as_usual(ahead: Callable[..., Trainer], last: int):
    trainer = ahead({"checkpoints.every_steps": 100, "validation.every_steps": 100})
    begin = trainer.begin

    def begins(number: int, steps: int) -> Begun:
        if number == 5:
            trainer.request_stop(signal.SIGTERM)
        return begin(number, steps)

    trainer.begin = begins  # type: ignore[method-assign]
    trainer.train(last)
    assert [event.step for event in trainer.log.of_kind(CheckpointSaved)] == [last]


def test_a_divergence_is_that_of_its_own_step_and_nothing_after_it_is_saved(
    ahead: Callable[..., Trainer], tmp_path: Path
):
    trainer = ahead({"checkpoints.every_steps": 4})
    begin = trainer.begin

    def begins(number: int, steps: int) -> Begun:
        if number == 5:
            with torch.no_grad():
                next(iter(trainer.model.parameters())).fill_(torch.nan)
        return begin(number, steps)

    trainer.begin = begins  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the loss is nan at step 6"):
        trainer.train(12)
    assert trainer.log.of_kind(TrainingDiverged)[0].step == 6
    assert [event.step for event in trainer.log.of_kind(TrainStep)] == [1, 2, 3, 4, 5]
    assert complete_names(LocalObjects(tmp_path / "ahead" / "work")) == ["step-00000004"]


def test_a_budget_that_is_spent_is_learned_a_step_later_with_a_checkpoint(
    ahead: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now = iter(range(0, 10_000_000, 3600))
    monkeypatch.setattr("llm.training.guards.budget.time.monotonic", lambda: float(next(now)))
    trainer = ahead({"budget": {"device_hours": 3}, "checkpoints.every_steps": 100})
    with pytest.raises(UserError, match="is at step 4"):
        trainer.train(12)
    assert complete_names(LocalObjects(tmp_path / "ahead" / "work")) == ["step-00000004"]


def test_a_callback_of_a_user_sees_each_step_before_the_next_begins(
    ahead: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
):
    trainer = ahead(FEW_STOPS)
    trainer.callbacks.append(Callback())
    seen = watched(trainer, monkeypatch)
    trainer.train(3)
    assert seen == ["begin 1", "read 1", "begin 2", "read 2", "begin 3", "read 3"]
