"""A rollback from spikes: its result follows from the settings, and a training that is cut off repeats it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from llm.config import compose, deciding
from llm.errors import Preempted, UserError
from llm.runs.event_kinds import RolledBack
from llm.storage import LocalObjects
from llm.training.checkpoint.find import FILES, complete_names, step_of
from llm.training.guards import rollback
from llm.training.guards.rollback import ROLLBACK, BeginsAgain, Rollback, batch_of, written
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
GUARDS = {"spike_deviations": 50.0, "spike_window": 4, "stop_after_spikes": 2, "rollback_steps": 4}
SETTINGS = {"guards": GUARDS, "checkpoints.every_steps": 3}
BAD = (6, 7)
"""Batches with gradients a thousand times too large: after them it goes on from step 4 with batch 8."""


def spiking(trainer: Trainer, bad: tuple[int, ...] = BAD, stop_at: int | None = None) -> Trainer:
    """Let some batches spike, and a stop be asked for in a step (from 0)."""
    inner, now = trainer.begin, [0]

    def step(number: int, of: int):
        now[0] = trainer.batch_of(number)
        if number == stop_at:
            trainer.request_stop(signal.SIGTERM)
        return inner(number, of)

    def forward(module: object, inputs: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * 1000 if now[0] in bad else gradient)

    trainer.begin = step  # type: ignore[method-assign]
    trainer.model.model.norm.register_forward_hook(forward)
    return trainer


def to_the_end(make: Make, bad: tuple[int, ...] = BAD, settings: dict[str, Any] = SETTINGS) -> Trainer:
    """Train as the worker does."""
    while True:
        trainer = spiking(make(settings), bad)
        try:
            trainer.train(12)
            return trainer
        except BeginsAgain:
            continue


def result(trainer: Trainer) -> tuple[Any, dict[str, torch.Tensor]]:
    return trainer.history, {name: one.clone() for name, one in trainer.model.state_dict().items()}


def assert_equal(one: tuple[Any, dict[str, torch.Tensor]], other: tuple[Any, dict[str, torch.Tensor]]) -> None:
    assert one[0] == other[0]
    assert all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())


@pytest.fixture
def whole(make_trainer: Make, workspace: LocalObjects) -> tuple[Any, dict[str, torch.Tensor]]:
    """The result of the training that nothing cut off; its workspace is empty again."""
    found = result(to_the_end(make_trainer))
    for name in workspace.names():
        workspace.remove(name)
    return found


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_it_goes_on_before_the_spikes_with_the_batches_after_them(make_trainer: Make, backend: str):
    trainer = to_the_end(make_trainer, settings={**SETTINGS, "parallel.backend": {"name": backend}})
    (event,) = trainer.log.of_kind(RolledBack)
    assert (event.step, event.to, event.batch, event.number) == (8, 4, 8, 1)
    assert trainer.rolled_back == [{"step": 4, "batch": 8, "number": 1}]
    assert [trainer.batch_of(number) for number in range(7)] == [0, 1, 2, 3, 8, 9, 10]
    steps = [line["step"] for line in trainer.history if "loss" in line]
    assert steps == list(range(1, 13)), "each step is in the history once"
    assert not [line for line in trainer.history if "skipped" in line]


def test_the_result_is_that_of_a_training_that_never_saw_those_batches(make_trainer: Make, whole, workspace):
    reference = make_trainer(SETTINGS)
    reference.rolled_back = [{"step": 4, "batch": 8, "number": 1}]
    losses = [reference.step(number, 12).loss for number in range(12)]
    assert losses == [line["loss"] for line in whole[0] if "loss" in line]
    assert all(torch.equal(one, reference.model.state_dict()[name]) for name, one in whole[1].items())


def test_where_it_goes_on_does_not_depend_on_how_often_it_is_saved(make_trainer: Make, whole):
    for every in (1, 100):
        again = to_the_end(make_trainer, settings={**SETTINGS, "checkpoints.every_steps": every})
        assert_equal(result(again), whole)
        for name in again.workspace.names():
            again.workspace.remove(name)


def test_a_kill_before_the_later_checkpoints_are_removed_changes_nothing(
    make_trainer: Make, whole, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch
):
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "remove_later", dies)
        with pytest.raises(KeyboardInterrupt):
            to_the_end(make_trainer)
    assert step_of(complete_names(workspace)[-1]) > 4, "of the way that is left"
    assert_equal(result(to_the_end(make_trainer)), whole)


@pytest.mark.parametrize("stop_at", [4, 9])
def test_a_stop_after_it_changes_nothing(make_trainer: Make, whole, stop_at: int):
    with pytest.raises(BeginsAgain):
        spiking(make_trainer(SETTINGS)).train(12)
    with pytest.raises(Preempted):
        spiking(make_trainer(SETTINGS), stop_at=stop_at).train(12)
    again = to_the_end(make_trainer)
    assert_equal(result(again), whole)
    assert len(again.log.of_kind(RolledBack)) == 2, "one of the whole training, one of this"


def test_without_the_checkpoint_of_its_point_the_spikes_come_again_and_it_with_them(
    make_trainer: Make, whole, workspace: LocalObjects
):
    with pytest.raises(BeginsAgain):
        spiking(make_trainer(SETTINGS)).train(12)
    workspace.remove(f"step-00000004/{FILES}")
    again = to_the_end(make_trainer)
    assert len(again.log.of_kind(RolledBack)) == 3, "the whole training, the first attempt, and this one"
    assert_equal(result(again), whole)


def test_it_may_go_back_to_the_beginning(make_trainer: Make, workspace: LocalObjects):
    trainer = to_the_end(make_trainer, bad=(3, 4))
    assert trainer.rolled_back == [{"step": 0, "batch": 5, "number": 1}]
    assert len([line for line in trainer.history if "loss" in line]) == 12


def test_after_some_rollbacks_it_ends_with_a_checkpoint(make_trainer: Make, workspace: LocalObjects):
    settings = {**SETTINGS, "guards": {**GUARDS, "stop_after_rollbacks": 2}}
    with pytest.raises(UserError, match="2 spikes in a row, up to step 6"):
        to_the_end(make_trainer, tuple(range(6, 40)), settings)
    assert written(workspace) == Rollback(step=4, batch=10, number=2)
    assert complete_names(workspace)[-1] == "step-00000006"


def test_the_way_back_is_kept_until_it_cannot_be_needed(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({**SETTINGS, "checkpoints.every_steps": 1})
    trainer.train(9)
    assert [step_of(name) for name in complete_names(workspace)] == [4, 8, 9]


def test_a_later_rollback_counts_on_from_the_one_before():
    first = {"step": 4, "batch": 8, "number": 1}
    assert [batch_of(number, [first]) for number in (3, 4, 9)] == [3, 8, 13]
    both = [first, {"step": 8, "batch": 20, "number": 2}]
    assert [batch_of(number, both) for number in (3, 7, 8, 9)] == [3, 11, 20, 21]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"7", b"{}", b'{"step": 1}'])
def test_a_note_that_cannot_be_read_is_none(workspace: LocalObjects, damaged: bytes):
    workspace.write(ROLLBACK, damaged)
    assert written(workspace) is None


def test_it_decides_the_result_and_needs_the_guard_against_spikes():
    spikes = ["training.guards.spike_deviations=6", "training.parallel.backend.name=torch"]
    plain, guarded = compose(spikes).training, compose([*spikes, "training.guards.rollback_steps=100"]).training
    assert deciding(plain) != deciding(guarded)
    with pytest.raises(UserError, match="rollback_steps=100 without spikes to go back from"):
        compose(["training.guards.rollback_steps=100"])


def test_a_lost_part_of_the_losses_costs_no_checkpoint_after_it(make_trainer: Make, workspace: LocalObjects):
    trainer = to_the_end(make_trainer)
    for path in (workspace.root / "history").iterdir():
        path.unlink()
    again = make_trainer(SETTINGS)
    again.train(12)
    assert complete_names(workspace)[-1] == "step-00000012"
    assert again.rolled_back == trainer.rolled_back
    assert again.batch_of(9) == 13


def test_it_does_not_go_back_to_a_checkpoint_that_is_not_there(make_trainer: Make, workspace: LocalObjects):
    trainer = spiking(make_trainer({**SETTINGS, "checkpoints.keep": 10}))
    inner = trainer.begin

    def step(number: int, of: int):
        if number == 7:
            trainer.saver.wait()
            workspace.remove(f"step-00000004/{FILES}")
        return inner(number, of)

    trainer.begin = step  # type: ignore[method-assign]
    with pytest.raises(UserError, match="2 spikes in a row, up to step 8"):
        trainer.train(12)
    assert {"step-00000003", "step-00000006", "step-00000008"} <= set(complete_names(workspace))
    assert written(workspace) is None
