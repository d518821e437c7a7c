"""A training that was cut off is found again after a change, and what becomes of it is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm.errors import UserError
from llm.runs.event_kinds import TrainingChanged, Warned
from llm.runs.events import EventLog
from llm.storage import LocalObjects, Recipe, Store
from llm.training.checkpoint.find import checkpoint_name, complete_names
from llm.training.identity import MAY_CHANGE, changes_so_far, recorded, settle, training_identity
from llm.training.plan import STEPS
from llm.training.train import training_recipe
from llm.training.trainer import Trainer
from tests.cases.training import MODEL, token_shards, training

OTHERS = {
    "length": {"length.steps": 13}, "compute": {"compute.precision": "bf16"}, "parallel": {"parallel.processes": 4},
    "validation": {"validation.every_steps": 7},
    "batch.micro_batch_size": {"batch.micro_batch_size": 4},
}  # fmt: skip


@pytest.fixture
def given(tmp_path: Path):
    return token_shards(Store(tmp_path / "store"))


def keys(given, settings: Mapping[str, Any], model=MODEL) -> tuple[str, str]:
    config = training(settings)
    return training_identity(model, config, *given).key, training_recipe(model, config, *given).key


@pytest.mark.parametrize("name", MAY_CHANGE)
def test_a_setting_with_which_it_may_go_on_is_in_the_recipe_and_not_in_the_identity(given, name: str):
    before, after = keys(given, {}), keys(given, OTHERS[name])
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    "settings", [{"optimizer.lr": 2e-2}, {"seed": 1}, {"batch.tokens": 256}, {"schedule.warmup_fraction": 0.5}]
)
def test_another_training_has_another_identity(given, settings: Mapping[str, Any]):
    assert keys(given, {})[0] != keys(given, settings)[0]
    assert keys(given, {})[0] != keys(given, {}, MODEL.model_copy(update={"rope_theta": 5e5}))[0]


def test_where_and_how_often_it_is_saved_is_in_neither(given):
    assert keys(given, {}) == keys(given, {"checkpoints.every_steps": 5, "on_change": "refuse"})


class Workspace:
    """The place of a training that saved at some steps, and what `settle` says to another recipe."""

    def __init__(self, folder: Path) -> None:
        self.objects, self.log = LocalObjects(folder / "work"), EventLog(folder / "runs" / "one" / "events.jsonl")

    def save(self, *steps: int) -> None:
        for step in steps:
            self.objects.write(f"{checkpoint_name(step)}/files.json", b"[]")

    def settle(self, length: int, on_change: str = "continue") -> None:
        recipe = Recipe("training", {"training": {"length": {"steps": length}}})
        settle(self.objects, recipe, training({"on_change": on_change}), self.log)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.settle(10)
    return made


def test_the_last_attempt_is_recorded(place: Workspace):
    record = recorded(place.objects)
    assert record is not None
    assert (record.run, record.parts["config"]) == ("one", {"training.length.steps": 10})
    place.objects.write("recipe.json", b"{")
    assert recorded(place.objects) is None


def test_with_the_same_recipe_nothing_is_said(place: Workspace):
    place.save(4, 8)
    place.settle(10)
    assert place.log.read() == []


def test_it_goes_on_and_says_what_changed_at_which_step(place: Workspace):
    place.objects.write(STEPS, b"10")
    place.save(4, 8)
    place.settle(20)
    place.save(16)
    place.settle(30)
    words = ["config training.length.steps 10 -> 20", "config training.length.steps 20 -> 30"]
    assert [(event.step, event.changes) for event in place.log.of_kind(TrainingChanged)] == [
        (8, words[:1]), (16, words[1:]),
    ]  # fmt: skip
    assert changes_so_far(place.objects) == [{"step": 8, "changes": words[:1]}, {"step": 16, "changes": words[1:]}]
    assert place.objects.read(STEPS) is None, "it was measured for another length"


def test_other_ranks_go_on_with_threads_of_their_own(place: Workspace):
    def go_on(parallel: dict[str, Any]) -> None:
        settle(place.objects, Recipe("training", {"training": {"parallel": parallel}}), training({}), place.log)

    go_on({"processes": 2, "backend": {"name": "deepspeed"}})
    place.save(8)
    place.objects.write("threads-0.json", b"1")
    go_on({"processes": 2, "backend": {"name": "deepspeed"}})
    assert place.objects.read("threads-0.json") == b"1"
    go_on({"processes": 1, "backend": {"name": "torch"}})
    assert place.objects.read("threads-0.json") is None
    assert complete_names(place.objects) == [checkpoint_name(8)]


def test_it_is_refused_with_the_step_and_what_changed(place: Workspace):
    place.save(8)
    with pytest.raises(UserError, match=r"at step 8, .* another recipe: config training.length.steps 10 -> 20"):
        place.settle(20, "refuse")
    record = recorded(place.objects)
    assert record is not None
    assert record.parts["config"] == {"training.length.steps": 10}, "the next attempt is compared with the same"
    place.settle(10, "refuse")


def test_it_begins_anew_without_a_trace_of_the_changes(place: Workspace):
    place.save(4)
    place.settle(20)
    place.save(8)
    place.settle(30, "anew")
    assert complete_names(place.objects) == []
    assert changes_so_far(place.objects) == []
    (warned,) = place.log.of_kind(Warned)
    assert warned.message == ("the checkpoints up to step 8 are removed: config training.length.steps 20 -> 30")


def test_without_a_checkpoint_nothing_can_go_on(place: Workspace):
    place.objects.write(f"{checkpoint_name(4)}/model.safetensors", b"")  # cut off: it has no list
    place.settle(20, "refuse")
    assert place.log.read() == []
    assert changes_so_far(place.objects) == []


def test_a_length_below_the_checkpoint_is_refused(make_trainer):
    trainer: Trainer = make_trainer({"checkpoints.every_steps": 2})
    trainer.train(4)
    with pytest.raises(UserError, match="the training is at step 4, and shall have 3 steps"):
        make_trainer().train(3)
    assert json.loads((trainer.scratch / checkpoint_name(4) / "state.json").read_text())["step"] == 4


@pytest.mark.parametrize("has_changed", [True, False])
def test_what_cannot_be_loaded_after_a_change_is_the_changes_fault(
    make_trainer, workspace: LocalObjects, has_changed: bool, monkeypatch: pytest.MonkeyPatch
):
    make_trainer({"checkpoints.every_steps": 2}).train(4)
    if has_changed:
        workspace.write(
            "changes.json", json.dumps([{"step": 4, "changes": ["library deepspeed 0.18 -> 0.19"]}]).encode()
        )
    trainer: Trainer = make_trainer()

    def other(state: object) -> None:
        raise KeyError("exp_avg")

    monkeypatch.setattr(trainer.backend, "load", other)
    with pytest.raises(UserError if has_changed else KeyError) as told:
        trainer.train(8)
    if has_changed:
        assert told.match(r"step-00000004 cannot be continued after the change: KeyError: 'exp_avg'\n")
        assert told.match("Changed: library deepspeed 0.18 -> 0.19")
