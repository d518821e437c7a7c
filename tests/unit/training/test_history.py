"""The losses of a training are written once, in segments that its checkpoints share."""

from __future__ import annotations

import json
from collections.abc import Callable

from llm.runs.event_kinds import Warned
from llm.storage import LocalObjects
from llm.training.callbacks._save import Save
from llm.training.checkpoint.find import complete_names, newest_checkpoint
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
EVERY_4 = {"checkpoints.every_steps": 4, "checkpoints.keep": 2, "validation.every_steps": 6}


def steps_in(workspace: LocalObjects) -> dict[str, list[int]]:
    """The steps whose losses each segment holds."""
    return {
        path.stem: [line["step"] for line in map(json.loads, path.read_text().splitlines()) if "loss" in line]
        for path in sorted((workspace.root / "history").iterdir())
    }


def test_each_save_writes_only_the_lines_since_the_one_before(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer(EVERY_4)
    trainer.train(12)
    assert complete_names(workspace) == ["step-00000008", "step-00000012"]
    assert steps_in(workspace) == {
        "step-00000004": [1, 2, 3, 4], "step-00000008": [5, 6, 7, 8], "step-00000012": [9, 10, 11, 12],
    }  # fmt: skip
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    assert newest.history() == trainer.history
    assert [line["step"] for line in newest.history() if "validation_loss" in line] == [6, 12]


def test_a_training_that_goes_back_writes_its_lines_again(make_trainer: Make, workspace: LocalObjects):
    straight = make_trainer(EVERY_4)
    straight.train(12)
    workspace.remove("step-00000012/files.json")
    (workspace.root / "history" / "step-00000012.jsonl").write_text("{}")  # of the save that was cut off
    resumed = make_trainer(EVERY_4)
    resumed.train(12)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    assert newest.history() == resumed.history == straight.history


def test_a_lost_segment_costs_its_lines_and_no_checkpoint(make_trainer: Make, workspace: LocalObjects):
    make_trainer(EVERY_4).train(8)
    (workspace.root / "history" / "step-00000004.jsonl").unlink()
    resumed = make_trainer(EVERY_4)
    resumed.train(12)
    assert [line["step"] for line in resumed.history if "loss" in line] == list(range(5, 13))
    lost = "a part of the losses is lost: history/step-00000004.jsonl is not there as it was written"
    assert lost in [event.message for event in resumed.log.of_kind(Warned)]


def test_that_of_an_earlier_version_goes_into_the_first_segment(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer(EVERY_4)
    trainer.train(4)
    folder = workspace.root / "step-00000004"
    (workspace.root / "history" / "step-00000004.jsonl").rename(folder / "history.jsonl")
    (folder / "history.json").unlink()
    entries = [one for one in json.loads((folder / "files.json").read_text()) if one["path"] != "history.json"]
    (folder / "files.json").write_text(json.dumps(entries))
    resumed = make_trainer(EVERY_4)
    resumed.train(8)
    assert steps_in(workspace) == {"step-00000008": list(range(1, 9))}


def test_a_save_at_the_step_of_the_last_one_adds_no_segment(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer(EVERY_4)
    trainer.train(4)
    Save().save(trainer, 4)
    assert list(steps_in(workspace)) == ["step-00000004"]
