"""Checkpoints are complete or absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llm.errors import UserError
from llm.training import checkpoint_write
from llm.training.checkpoint import TrainingState, checkpoints, newest_checkpoint, read_state, refuse_other_run
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
STATE = TrainingState(step=3, tokens=300, world_size=2, backend="torch", seed=1, data_fingerprint="abc")


def steps(folder: Path) -> list[int]:
    return sorted(step for step, _ in checkpoints(folder))


def test_the_oldest_are_dropped(make_trainer: Make, tmp_path: Path):
    trainer = make_trainer(keep_checkpoints=2)
    for step in (1, 2, 3, 4):
        trainer._save(step)
    assert steps(tmp_path / "work") == [3, 4]
    newest, damaged = newest_checkpoint(tmp_path / "work")
    assert newest is not None
    assert (read_state(newest).step, damaged) == (4, [])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / "files.json").unlink(), "files.json is missing or broken"),
        (lambda path: (path / "rank-0.pt").unlink(), "rank-0.pt is missing"),
        (lambda path: os.truncate(path / "model.safetensors", 100), "model.safetensors is not what was written"),
        (lambda path: (path / "history.jsonl").write_text("{}\n"), "history.jsonl is not what was written"),
    ],
)
def test_a_damaged_one_is_passed_over(make_trainer: Make, tmp_path: Path, damage, problem: str):
    trainer = make_trainer()
    trainer._save(1)
    trainer._save(2)
    newest, _ = newest_checkpoint(tmp_path / "work")
    damage(newest)
    found, damaged = newest_checkpoint(tmp_path / "work")
    assert found is not None
    assert (found.name, damaged) == ("step-00000001", [f"checkpoint step-00000002 is not used: {problem}"])


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_disk_that_fills_leaves_the_last_complete_one(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    trainer = make_trainer()
    trainer._save(1)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_write.os, failing, full)
        with pytest.raises(UserError, match=r"the disk is full(.|\n)*What was complete before is untouched"):
            trainer._save(2)
    assert steps(tmp_path / "work") == [1]
    assert not list((tmp_path / "work").glob(".partial*"))
    assert newest_checkpoint(tmp_path / "work")[0] is not None


def test_a_disk_that_fills_within_a_library_is_recognised(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """torch and safetensors raise errors of their own; /dev/full is a disk without room."""
    trainer = make_trainer()
    trainer._save(1)
    opened = Path.open

    def on_a_full_disk(path: Path, mode: str = "r", **rest):
        return opened(Path("/dev/full") if path.name == "rank-0.pt" and "w" in mode else path, mode, **rest)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(UserError, match="the disk is full"):
        trainer._save(2)
    assert steps(tmp_path / "work") == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_size": 4}, "world_size was 2, now it is 4\n.*training.processes"),
        ({"backend": "deepspeed"}, "backend was torch, now it is deepspeed"),
        ({"seed": 2}, "seed was 1, now it is 2"),
        ({"data_fingerprint": "def"}, "data_fingerprint was abc, now it is def\n.*shards"),
    ],
)
def test_another_training_cannot_go_on_from_it(change: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        refuse_other_run(STATE, replace(STATE, **change), Path("step-00000003"))
