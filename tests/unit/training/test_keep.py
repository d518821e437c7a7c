"""The checkpoints that are kept, why, and what becomes of them at the end of the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llm.cli.runs.trainings import command
from llm.config import compose, deciding
from llm.config.sections.training import CheckpointsConfig, TrainingConfig
from llm.runs.event_kinds import CheckpointSaved, TrainResumed
from llm.runs.events import EventLog
from llm.storage import LocalObjects, Manifest, Store
from llm.storage.products import CheckpointCounts
from llm.training.checkpoint import keep
from llm.training.checkpoint.find import FILES, checkpoint_name, complete_names, newest_checkpoint
from llm.training.train import train, training_identity, training_recipe
from llm.training.trainer import Trainer
from llm.training.unfinished import unfinished
from tests.cases.training import MODEL, token_shards, training

Make = Callable[..., Trainer]
LOSSES = [{"step": 10, "loss": 1.0}, *({"step": step, "validation_loss": loss} for step, loss in
          ((10, 3.0), (20, 2.0), (30, math.nan), (40, 2.0), (50, 2.5)))]  # fmt: skip


def reasons(*steps: int, **settings: Any) -> dict[int, list[str]]:
    config = TrainingConfig(checkpoints=CheckpointsConfig(**settings))
    found = keep.kept(map(checkpoint_name, steps), config, LOSSES)
    return {int(name.removeprefix("step-")): why for name, why in found.items()}


def test_each_checkpoint_says_why_it_is_kept():
    steps = (10, 20, 25, 30, 40, 50)
    assert reasons(*steps) == {40: ["last"], 50: ["last"]}
    assert reasons(*steps, keep_every_steps=20) == {
        20: ["every 20 steps"],
        40: ["last", "every 20 steps"],
        50: ["last"],
    }
    best = {20: ["validation loss 2"], 40: ["last"], 50: ["last"]}
    assert reasons(*steps, keep_best=1) == best, "of equal losses the earlier one, and NaN is no loss"
    assert reasons(*steps, keep_best=9)[10] == ["validation loss 3"]
    assert 25 not in reasons(*steps, keep_best=9), "nothing was measured there"


@pytest.mark.parametrize("settings", [{}, {"keep_every_steps": 7}, {"keep_best": 3}])
def test_the_newest_is_always_kept_and_so_is_the_only_one(settings: Mapping[str, Any]):
    assert list(reasons(25, **settings)) == [25]
    assert reasons(**settings) == {}
    assert max(reasons(10, 20, 25, **settings)) == 25


def test_a_checkpoint_is_saved_where_one_is_to_be_kept():
    def due(**settings: int) -> list[int]:
        config = training({"checkpoints": {"every_steps": 5, **settings}})  # validation: every 6 steps
        return [step for step in range(1, 13) if keep.is_due(step, config)]

    assert due(keep_every_steps=4) == [4, 5, 8, 10, 12]
    assert due(keep_best=1) == [5, 6, 10, 12]


def test_the_policy_is_in_no_recipe_and_a_keep_of_nothing_is_refused():
    changed = ["training.checkpoints.keep_every_steps=3", "training.checkpoints.keep_best=1"]
    assert deciding(compose(changed).training) == deciding(compose([]).training)
    for wrong in ("keep_every_steps=0", "keep_best=-1", "keep=1"):
        with pytest.raises(Exception, match=wrong.partition("=")[0]):
            compose([f"training.checkpoints.{wrong}"])


def test_a_training_keeps_the_policy_and_goes_on_from_the_newest(make_trainer: Make, workspace: LocalObjects):
    settings = {"checkpoints.every_steps": 5, "checkpoints.keep_every_steps": 4, "checkpoints.keep_best": 1}
    trainer = make_trainer({**settings, "validation.every_steps": 6})
    trainer.train(12)
    assert [event.step for event in trainer.log.of_kind(CheckpointSaved)] == [4, 5, 6, 8, 10, 12]
    assert [int(name[5:]) for name in complete_names(workspace)] == [4, 8, 10, 12]
    why = keep.read_kept(workspace)
    best = min(
        (line for line in trainer.history if "validation_loss" in line), key=lambda line: line["validation_loss"]
    )
    assert why["step-00000012"] == ["last", "every 4 steps", f"validation loss {best['validation_loss']:.4g}"]
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    workspace.remove(f"{newest.name}/{FILES}")
    again = make_trainer({**settings, "validation.every_steps": 6})
    again.train(12)
    assert [event.step for event in again.log.of_kind(TrainResumed)] == [10]


class Elsewhere:
    """Trains elsewhere: leaves checkpoints as a real one would, and a product."""

    def __init__(self, store: Store, log: EventLog, settings: Mapping[str, Any]) -> None:
        self.store, self.log, self.config, self.given = store, log, training(settings), token_shards(store)
        place = training_identity(MODEL, self.config, *self.given)
        self.workspace, self.found = store.working_objects(place), list[str]()

    def step(self, **options: Any) -> Manifest:
        return train(MODEL, self.config, *self.given, self.store, self.log, elsewhere=self._train, **options)

    def _train(self, plan_uri: str) -> None:
        self.found = complete_names(self.workspace)
        steps = self.config.length.steps or 0
        for step in (4, 8, steps):
            self.workspace.write(f"{checkpoint_name(step)}/{FILES}", b"[]")
        self.workspace.write("step-00000099/states-0.safetensors", b"cut off")
        keep.write_kept(self.workspace, keep.kept(complete_names(self.workspace), self.config, []))
        with self.store.stage("checkpoint", training_recipe(MODEL, self.config, *self.given)) as stage:
            (stage.path / "steps").write_text(str(steps))
            stage.commit(CheckpointCounts(steps=steps, tokens=1))


FOR_GOOD = {"checkpoints.keep_every_steps": 4}


def test_what_is_kept_for_good_outlives_the_training_and_the_rest_goes(store: Store, log: EventLog):
    ends = Elsewhere(store, log, FOR_GOOD)
    for _ in range(2):  # the second time it is at its end already
        ends.step()
        assert complete_names(ends.workspace) == ["step-00000004", "step-00000008"], "the last one is the product"
        assert not ends.workspace.names("step-00000099")
    (listed,) = unfinished(store)
    assert (listed.has_ended, listed.step) == (True, 8)
    assert listed.kept == {"step-00000004": ["every 4 steps"], "step-00000008": ["every 4 steps"]}
    printed = CliRunner().invoke(command, [f"storage.uri={store.root}"]).output
    assert "it came to its end" in printed
    assert printed.splitlines()[-2:] == [f"{'':26}{step}  kept: every 4 steps" for step in (4, 8)]


def test_without_such_a_checkpoint_nothing_stays(store: Store, log: EventLog):
    ends = Elsewhere(store, log, {})
    ends.step()
    assert complete_names(ends.workspace) == []
    assert not list(unfinished(store))


def test_a_longer_training_goes_on_from_what_is_kept_and_one_that_is_made_again_removes_it(store: Store, log: EventLog):
    Elsewhere(store, log, FOR_GOOD).step()
    longer = Elsewhere(store, log, {**FOR_GOOD, "length.steps": 20})
    longer.step()
    assert longer.found == ["step-00000004", "step-00000008"]
    longer.step(retrain=True)
    assert longer.found == []
    (listed,) = unfinished(store)
    assert listed.changes == 0


def test_a_list_of_reasons_that_cannot_be_read_is_none(tmp_path: Path):
    for damaged in (b"", b"[]", b"{", b'{"step-00000001": 3}', "{\u00e9}".encode("latin-1")):
        LocalObjects(tmp_path).write(keep.KEPT, damaged)
        assert keep.read_kept(LocalObjects(tmp_path)) == {}
