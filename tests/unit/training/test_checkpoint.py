"""Checkpoints are complete or absent."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from llm.errors import Preempted, ServiceError, UserError
from llm.storage import LocalObjects
from llm.training.callbacks import _save
from llm.training.callbacks._save import Save
from llm.training.checkpoint.find import (
    checkpoint_names,
    complete_names,
    newest_checkpoint,
)
from llm.training.checkpoint.weights import SHARD_BYTES, shards_of
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]


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
        (lambda path: (path / "states-0.safetensors").unlink(), "states-0.safetensors is missing"),
        (lambda path: os.truncate(path / "model.safetensors", 100), "model.safetensors is not what was written"),
        (lambda path: (path / "history.json").write_text("{}\n"), "history.json is not what was written"),
    ],
)
def test_a_damaged_one_is_passed_over(make_trainer: Make, workspace: LocalObjects, damage, problem: str):
    trainer = make_trainer()
    trainer.step(0, 12)  # before it there are no states
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
    """safetensors raises an error of its own, with these words."""
    trainer = make_trainer()
    Save().save(trainer, 1)
    trainer.step(0, 12)

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("llm.training.checkpoint.pieces.save_file", full)
    with pytest.raises(UserError, match="the disk is full"):
        Save().save(trainer, 2)
    assert complete_names(workspace) == ["step-00000001"]


def test_one_that_was_cut_off_does_not_count_among_those_that_are_kept(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({"checkpoints.keep": 2})
    Save().save(trainer, 1)
    Save().save(trainer, 2)
    workspace.write("step-00000003/states-0.safetensors", b"cut off")
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


def test_one_of_an_earlier_version_is_refused_in_words(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer()
    Save().save(trainer, 1)
    folder = workspace.root / "step-00000001"
    (folder / "states.json").unlink()
    (folder / "rank-0.pt").write_bytes(b"")
    entries = [entry for entry in json.loads((folder / "files.json").read_text()) if entry["path"] != "states.json"]
    (folder / "files.json").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"step-00000001 was saved by an earlier version .*\n.*on_change=anew"):
        make_trainer().train(12)


@pytest.mark.parametrize("shard_bytes", [SHARD_BYTES, 20_000])
@pytest.mark.parametrize("name", ["torch", "fsdp"])
def test_a_backend_resumes_its_own_training_bit_for_bit(
    make_trainer: Make, workspace: LocalObjects, monkeypatch: pytest.MonkeyPatch, name: str, shard_bytes: int
):
    monkeypatch.setattr(_save, "shards_of", partial(shards_of, at_most=shard_bytes))
    settings = {"parallel.backend": {"name": name}, "checkpoints.every_steps": 4, "batch.micro_batch_size": 2}
    straight = make_trainer(settings)
    straight.train(12)
    weights = {name: tensor.clone() for name, tensor in straight.backend.weights().items()}
    workspace.remove("step-00000012/files.json")
    resumed = make_trainer(settings)
    resumed.train(12)
    assert resumed.history == straight.history
    assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.backend.weights().items())


def test_a_setting_of_the_optimizer_that_a_checkpoint_cannot_hold_is_refused(make_trainer: Make):
    trainer = make_trainer()
    trainer.backend._optimizer.param_groups[0]["scale"] = torch.ones(2)
    with pytest.raises(UserError, match=r"settings of the optimizer's groups cannot be saved: Object of type Tensor"):
        Save().save(trainer, 1)


def test_damaged_ones_that_are_later_do_not_count_among_the_last(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({"checkpoints.keep": 2})
    for step in (2, 8, 9):
        Save().save(trainer, step)
    for later in ("step-00000008", "step-00000009"):  # resume passed them over, and the training began before them
        os.truncate(workspace.root / later / "model.safetensors", 100)
    Save().save(trainer, 4)
    assert complete_names(workspace) == ["step-00000004"]
