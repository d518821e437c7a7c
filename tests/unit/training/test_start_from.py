"""A training that starts from a checkpoint: its first weights, its identity, and what a resume does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llm.config import compose, deciding
from llm.errors import DamagedError
from llm.model.weights import load
from llm.runs.folder import run_name
from llm.storage import LocalObjects, Store
from llm.training.callbacks._save import Save
from llm.training.identity import training_identity
from llm.training.resume import resume
from llm.training.train import train, training_recipe
from tests.cases.training import MODEL, TRAINING, checkpoint, token_shards, training


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def keys(store: Store, start, settings) -> tuple[str, str]:
    given = (MODEL, training(settings), *token_shards(store), start)
    return training_identity(*given).key, training_recipe(*given).key


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_the_first_weights_are_those_of_the_checkpoint(make_trainer, store: Store, backend: str):
    start = checkpoint(store)
    trainer = make_trainer({"parallel.backend": {"name": backend}}, start=start)
    expected = dict(load(start.folder).named_parameters())
    found = trainer.backend.weights()
    assert found.keys() == expected.keys()
    assert all(torch.equal(expected[name], weight) for name, weight in found.items())
    drawn = make_trainer({"parallel.backend": {"name": backend}}).backend.weights()
    assert not torch.equal(drawn["model.embed_tokens.weight"], expected["model.embed_tokens.weight"])


def test_a_resume_goes_on_from_its_own_checkpoint(make_trainer, store: Store, workspace: LocalObjects):
    start = checkpoint(store)
    first = make_trainer(start=start)
    first.step(0, 12)
    Save().save(first, 1)
    again = make_trainer(start=start)
    assert resume(again) == 1
    assert all(torch.equal(again.backend.weights()[name], weight) for name, weight in first.backend.weights().items())


def test_a_damaged_checkpoint_is_refused_at_the_start(make_trainer, store: Store):
    start = checkpoint(store)
    path = start.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(DamagedError, match=r"model.safetensors of checkpoint .* is damaged"):
        make_trainer(start=start)


def test_it_takes_part_in_identity_and_recipe_by_its_content_and_not_by_its_name(store: Store):
    one, other = checkpoint(store, 5), checkpoint(store, 6)
    plain = keys(store, None, {})
    named = [keys(store, one, {"start_from": text}) for text in ("base@1", one.id, "/models/base")]
    assert len(set(named)) == 1
    assert len({plain, named[0], keys(store, other, {"start_from": other.id})}) == 3
    assert plain[0] not in {key for key, _ in named}


def test_at_its_default_it_is_in_no_recipe_and_a_run_with_it_has_another_name():
    assert "start_from" not in deciding(TRAINING)
    assert "adopted" not in str(deciding(compose().tokenizer))
    names = {run_name("pretrain", compose(overrides)) for overrides in
             ([], ["training.start_from=base@1"], ["tokenizer.adopted=base@1"])}  # fmt: skip
    assert len(names) == 3


def test_whoever_trains_must_find_the_checkpoint_that_the_setting_names(store: Store, tmp_path: Path):
    from llm.runs.events import EventLog

    with pytest.raises(AssertionError, match="finds the checkpoint"):
        train(
            MODEL, training({"start_from": "base@1"}), *token_shards(store), store, EventLog(tmp_path / "events.jsonl")
        )
