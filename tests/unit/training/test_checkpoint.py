"""Checkpoints are complete or absent."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llm.errors import Preempted, ServiceError, UserError
from llm.storage import LocalObjects
from llm.training.callbacks._save import Save
from llm.training.checkpoint.find import (
    TrainingState,
    checkpoint_names,
    complete_names,
    newest_checkpoint,
    refuse_other_run,
)
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
STATE = TrainingState(step=3, tokens=300, world_size=2, backend="torch", seed=1, data_fingerprint="abc")


def test_the_oldest_are_dropped(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({"checkpoints.keep": 2})
    for step in (1, 2, 3, 4):
        Save().save(trainer, step)
    assert complete_names(workspace) == ["step-00000003", "step-00000004"]
    newest, damaged = newest_checkpoint(workspace)
    assert newest is not None
    assert (newest.state().step, damaged) == (4, [])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / "files.json").unlink(), "files.json is missing or broken"),
        (lambda path: (path / "rank-0.pt").unlink(), "rank-0.pt is missing"),
        (lambda path: os.truncate(path / "model.safetensors", 100), "model.safetensors is not what was written"),
        (lambda path: (path / "history.jsonl").write_text("{}\n"), "history.jsonl is not what was written"),
    ],
)
def test_a_damaged_one_is_passed_over(make_trainer: Make, workspace: LocalObjects, damage, problem: str):
    trainer = make_trainer()
    Save().save(trainer, 1)
    Save().save(trainer, 2)
    newest, _ = newest_checkpoint(workspace)
    damage(workspace.root / newest.name)
    found, damaged = newest_checkpoint(workspace)
    assert found is not None
    assert (found.name, damaged) == ("step-00000001", [f"checkpoint step-00000002 is not used: {problem}"])


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fills_leaves_the_last_complete_one(
    make_trainer: Make, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch, failing: str
):
    trainer = make_trainer()
    Save().save(trainer, 1)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(UserError, match=r"the disk is full(.|\n)*Complete products are untouched"):
            Save().save(trainer, 2)
    assert complete_names(workspace) == checkpoint_names(workspace) == ["step-00000001"]
    assert not list(workspace.root.glob(".partial*"))
    assert newest_checkpoint(workspace)[0] is not None


def test_a_disk_that_fills_within_a_library_is_recognised(
    make_trainer: Make, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch
):
    """torch and safetensors raise errors of their own; /dev/full is a disk without room."""
    trainer = make_trainer()
    Save().save(trainer, 1)
    opened = Path.open

    def on_a_full_disk(path: Path, mode: str = "r", **rest):
        return opened(Path("/dev/full") if path.name == "rank-0.pt" and "w" in mode else path, mode, **rest)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(UserError, match="the disk is full"):
        Save().save(trainer, 2)
    assert complete_names(workspace) == ["step-00000001"]


def test_one_that_was_cut_off_does_not_count_among_those_that_are_kept(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({"checkpoints.keep": 2})
    Save().save(trainer, 1)
    Save().save(trainer, 2)
    workspace.write("step-00000003/rank-0.pt", b"cut off")
    Save().save(trainer, 4)
    assert complete_names(workspace) == checkpoint_names(workspace) == ["step-00000002", "step-00000004"]


def test_in_s3_a_checkpoint_is_found_and_gone_on_from(make_trainer: Make, s3: str, tmp_path: Path):
    straight = make_trainer()
    straight.train(12)
    in_s3 = make_trainer(workspace=f"{s3}/training/x")
    in_s3.request_stop(signal.SIGTERM)
    with pytest.raises(Preempted):
        in_s3.train(12)
    newest, _ = newest_checkpoint(in_s3.workspace)
    assert newest is not None
    assert newest.state().step == 1
    resumed = make_trainer(workspace=f"{s3}/training/x")
    resumed.train(12)
    assert all(torch.equal(one, resumed.model.state_dict()[name]) for name, one in straight.model.state_dict().items())


def test_in_s3_one_without_its_list_does_not_exist(make_trainer: Make, s3: str, monkeypatch: pytest.MonkeyPatch):
    trainer = make_trainer(workspace=f"{s3}/training/x")
    Save().save(trainer, 1)
    monkeypatch.setattr(type(trainer.workspace), "put", lambda *_: (_ for _ in ()).throw(ServiceError("S3 went away")))
    with pytest.raises(ServiceError, match="S3 went away"):
        Save().save(trainer, 2)
    assert complete_names(trainer.workspace) == ["step-00000001"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world_size": 4}, "world_size was 2, now it is 4\n.*training.parallel.processes"),
        ({"backend": "deepspeed"}, "backend was torch, now it is deepspeed"),
        ({"seed": 2}, "seed was 1, now it is 2"),
        ({"data_fingerprint": "def"}, "data_fingerprint was abc, now it is def\n.*shards"),
    ],
)
def test_another_training_cannot_go_on_from_it(change: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        refuse_other_run(STATE, replace(STATE, **change), "step-00000003")
