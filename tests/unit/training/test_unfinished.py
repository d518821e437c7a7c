"""Trainings that are not at their end are listed, compared and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.cli.runs.trainings import command
from llm.errors import BusyError, UserError
from llm.runs.events import EventLog
from llm.storage import Recipe, Store, only_process_in
from llm.training.checkpoint.find import checkpoint_name
from llm.training.identity import settle
from llm.training.unfinished import remove_unfinished, unfinished
from tests.cases.training import TRAINING


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One at step 8 that went on after a change, one that has only begun, one of an earlier version, one that ended."""
    made = Store(tmp_path / "store")
    home = made.objects.below("training")
    log = EventLog(tmp_path / "runs" / "one" / "events.jsonl")
    for lr in (1e-3, 2e-3):
        settle(home.below("far"), Recipe("training", {"training": {"optimizer": {"lr": lr}}}), TRAINING, log)
        home.write(f"far/{checkpoint_name(8)}/files.json", b"[]")
    settle(home.below("begun"), Recipe("training", {"training": {"optimizer": {"lr": 3e-3}}}), TRAINING, log)
    home.write(f"old/{checkpoint_name(4)}/files.json", b"[]")
    home.write("ended/ranks.log", b"done")
    return made


def test_those_that_are_not_at_their_end_are_listed(store: Store):
    found = {one.key: one for one in unfinished(store)}
    assert {key: (one.step, one.changes) for key, one in found.items()} == {
        "begun": (None, 0), "far": (8, 1), "old": (4, 0),
    }  # fmt: skip
    given = {"training.optimizer.lr": 3e-3, "model.hidden_size": 64}
    assert found["begun"].differences(given) == []
    assert found["far"].differences(given) == ["config training.optimizer.lr 0.002 -> 0.003"]
    assert found["old"].differences(given) == ["made by an earlier version"]


def test_one_is_removed_and_no_other(store: Store):
    remove_unfinished(store, "far")
    assert [one.key for one in unfinished(store)] == ["begun", "old"]
    assert not (store.root / "training" / "far").exists()
    assert (store.root / "training" / "ended").exists()


@pytest.mark.parametrize("key", ["ended", "nowhere", "", "../training/far"])
def test_what_is_no_unfinished_training_is_not_removed(store: Store, key: str):
    with pytest.raises(UserError, match="there is no unfinished training"):
        remove_unfinished(store, key)
    assert len(list(unfinished(store))) == 3


def test_one_that_runs_is_not_removed(store: Store):
    with only_process_in(store.root / "training" / "far"), pytest.raises(BusyError, match="works on training far"):
        remove_unfinished(store, "far")


def test_the_command_lists_them_with_the_latest_first(store: Store):
    place = f"storage.uri={store.root}"
    printed = CliRunner().invoke(command, [place, "training.optimizer.lr=3e-3"]).output
    assert [line.split()[:2] for line in printed.splitlines()[1:]] == [["begun", "none"], ["far", "8"], ["old", "4"]]
    assert "config training.optimizer.lr 0.002 -> 0.003" in printed
    document = json.loads(CliRunner().invoke(command, [place, "--json"]).output)
    assert [one["key"] for one in document] == ["begun", "far", "old"]
    assert document[0]["record"]["run"] == "one"


def test_the_command_removes_one(store: Store):
    done = CliRunner().invoke(command, [f"storage.uri={store.root}", "--remove", "far", "--remove", "old"])
    assert done.exit_code == 0, done.output
    assert [one.key for one in unfinished(store)] == ["begun"]
    empty = CliRunner().invoke(command, [f"storage.uri={store.root}-none"])
    assert empty.output.startswith("no unfinished training in ")
