"""The weights of a large model lie in shards; a small limit stands for a large model here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from llm.export.standard_onnx import read_weights
from llm.model.foreign import INDEX, shapes_of
from llm.model.weights import load
from llm.storage import LocalObjects
from llm.training.callbacks import _save
from llm.training.checkpoint.find import newest_checkpoint
from llm.training.checkpoint.weights import owners, shards_of
from llm.training.trainer import Trainer
from tests.cases.training import MODEL

Make = Callable[..., Trainer]
AT_MOST = 20_000


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of AT_MOST bytes."""
    monkeypatch.setattr(_save, "shards_of", partial(shards_of, at_most=AT_MOST))


def values_in(folder: Path) -> dict[str, int]:
    """Bytes of values in each file of weights."""
    return {
        path.name: sum(4 * tensor.numel() for tensor in load_file(path).values())
        for path in folder.glob("model-*.safetensors")
    }


def test_the_model_in_shards_is_the_model(make_trainer: Make, workspace: LocalObjects, small_shards: None):
    trainer = make_trainer()
    _save.Save().save(trainer, 1)
    checkpoint, _ = newest_checkpoint(workspace)
    assert checkpoint is not None
    folder = workspace.root / checkpoint.name
    sizes = values_in(folder)
    assert set(checkpoint.model_files()) == {"config.json", INDEX, *sizes}
    assert len(sizes) > 3
    matrix = 4 * max(map(prod, shapes_of(trainer.plan.model, trainer.plan.vocab_size).values()))
    assert max(sizes.values()) <= max(AT_MOST, matrix)
    assert json.loads((folder / INDEX).read_text())["metadata"]["total_size"] == sum(sizes.values())
    expected = trainer.backend.weights()
    for name, array in read_weights(folder).items():  # what ONNX is made from
        assert torch.equal(torch.from_numpy(array), expected[name])
    ours = load(folder)
    theirs = dict(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, expected[name])
        assert torch.equal(theirs[name], expected[name])


def test_a_missing_shard_makes_a_checkpoint_damaged(make_trainer: Make, workspace: LocalObjects, small_shards: None):
    trainer = make_trainer()
    _save.Save().save(trainer, 1)
    _save.Save().save(trainer, 2)
    next((workspace.root / "step-00000002").glob("model-00002-of-*")).unlink()
    found, damaged = newest_checkpoint(workspace)
    assert found is not None
    assert (found.name, len(damaged)) == ("step-00000001", 1)


def test_layers_that_share_weights_are_counted_and_written_as_often_as_they_repeat():
    config = MODEL.model_copy(update={"num_hidden_layers": 4, "num_unique_layers": 2})
    shards = shards_of(config, 64, at_most=10_000)
    assert sorted(name for names in shards.values() for name in names) == sorted(shapes_of(config, 64))
    alone = shards_of(config.model_copy(update={"num_hidden_layers": 2, "num_unique_layers": None}), 64, at_most=10_000)
    assert len(shards) > len(alone)


def test_many_ranks_write_a_shard_each():
    shards = shards_of(MODEL, 64, at_most=AT_MOST)
    owner = owners(shards, ranks=len(shards))
    assert [{owner[name] for name in names} for names in shards.values()] == [{rank} for rank in range(len(shards))]
    assert set(owners(shards, ranks=2).values()) == {0, 1}
