"""A model that others trained becomes a checkpoint of the store, or leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm.adoption.checkpoint import adopt_checkpoint
from llm.adoption.origin import origin_of
from llm.errors import UserError
from llm.model.weights import load
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from llm.storage import Store, sha256_of_file
from llm.storage.products import CheckpointCounts
from llm.tokenizer import tokenizer_of
from tests.cases.foreign import llama, tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    llama(made, tokenizer(made, 300))
    (made / "README.md").write_text("---\nlicense: other\nlicense_name: mill\n---\n# Tiny\n")
    return made


def products(store: Store) -> list[str]:
    return sorted(path.parent.name for path in store.root.glob("*/*/manifest.json"))


def test_its_files_are_those_of_the_folder(folder: Path, store: Store, log: EventLog):
    manifest = adopt_checkpoint(folder, store, log)
    assert manifest.kind == "checkpoint"
    assert CheckpointCounts.of(manifest).steps == 0
    assert {entry.path for entry in manifest.files} == {
        "README.md", "config.json", "model.safetensors.index.json", *(one.name for one in folder.glob("model-*")),
    }  # fmt: skip
    assert all(entry.sha256 == sha256_of_file(folder / entry.path) for entry in manifest.files)
    ids = torch.arange(20)[None]
    assert torch.equal(load(manifest.verify())(ids), load(folder)(ids))
    assert tokenizer_of(manifest).file("tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_its_origin_has_the_places_the_hashes_and_the_licence(
    folder: Path, store: Store, log: EventLog, tmp_path: Path
):
    manifest = adopt_checkpoint(folder, store, log)
    origin = origin_of(store.objects, manifest)
    assert origin is not None
    assert origin.places == (str(folder),)
    assert origin.files == {entry.path: entry.sha256 for entry in manifest.files}
    assert origin.licence == "license: other\nlicense_name: mill"
    other = tmp_path / "copy"
    shutil.copytree(folder, other)
    assert adopt_checkpoint(other, store, log).id == manifest.id, "one product, whatever the folder is called"
    again = origin_of(store.objects, manifest)
    assert again is not None
    assert again.places == (str(folder), str(other))
    assert again.time == origin.time
    assert len(products(store)) == 2, "the checkpoint and its tokenizer"


def test_the_text_of_a_licence_file_comes_before_the_card(folder: Path, store: Store, log: EventLog):
    (folder / "LICENSE.txt").write_text("Take it.\n")
    manifest = adopt_checkpoint(folder, store, log)
    origin = origin_of(store.objects, manifest)
    assert origin is not None
    assert origin.licence == "Take it.\n"
    assert manifest.file("LICENSE.txt").read_text() == "Take it.\n"


def test_other_weights_are_another_product(folder: Path, store: Store, log: EventLog):
    first = adopt_checkpoint(folder, store, log)
    (shard, *_) = sorted(folder.glob("model-*"))
    save_file({name: tensor + 1 for name, tensor in load_file(shard).items()}, shard)
    assert adopt_checkpoint(folder, store, log).id != first.id


def test_a_tokenizer_that_cannot_be_read_is_left_out_with_a_warning(folder: Path, store: Store, log: EventLog):
    (folder / "tokenizer.json").write_text("{}")
    manifest = adopt_checkpoint(folder, store, log)
    assert not manifest.parents
    (warned,) = log.of_kind(Warned)
    assert warned.message.startswith("the checkpoint is adopted without its tokenizer")


@pytest.mark.parametrize("fault", ["nan", "shard", "key", "heads", "file"])
def test_what_is_refused_leaves_nothing_behind(folder: Path, store: Store, log: EventLog, fault: str):
    last = sorted(folder.glob("model-*"))[-1]
    config = json.loads((folder / "config.json").read_text())
    if fault == "nan":
        weights = load_file(last)
        next(iter(weights.values())).view(-1)[0] = float("nan")
        save_file(weights, last)
    elif fault == "shard":
        last.unlink()
    elif fault == "file":
        shutil.rmtree(folder)
        folder.write_text("no folder")
    else:
        change = {"key": {"attention_multiplier": 2.0}, "heads": {"num_key_value_heads": 3}}[fault]
        (folder / "config.json").write_text(json.dumps({**config, **change}))
    what = {"nan": "not finite", "shard": f"lacks {last.name}", "key": "attention_multiplier", "file": "is no folder",
            "heads": "num_key_value_heads=3 does not divide"}[fault]  # fmt: skip
    with pytest.raises(UserError, match=what):
        adopt_checkpoint(folder, store, log)
    assert not any(path.is_file() for path in store.root.rglob("*"))


def test_a_file_that_changes_while_it_is_copied_is_refused(
    folder: Path, store: Store, log: EventLog, monkeypatch: pytest.MonkeyPatch
):
    copy = shutil.copyfile

    def changing(source: Path, target: Path) -> None:
        copy(source, target)
        if source.name == "config.json":
            target.write_text("{}")

    monkeypatch.setattr("llm.adoption.checkpoint.shutil.copyfile", changing)
    with pytest.raises(UserError, match=r"config.json was changed while it was read"):
        adopt_checkpoint(folder, store, log)
    assert not list(store.root.glob("checkpoint/*"))
