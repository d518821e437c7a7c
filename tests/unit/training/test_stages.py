"""A training in stages: each starts from the product of the one before it, and is done once."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.config import ModelConfig, RunConfig, TrainingConfig
from llm.config.model_folder import read_config
from llm.errors import Preempted, UserError
from llm.model import Decoder, initialise
from llm.model.weights import load, save
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.steps import Context
from llm.steps.bodies.train import body
from llm.storage import Manifest, Store
from llm.storage.products import CheckpointCounts
from llm.training.train import training_recipe
from tests.cases.training import MODEL, TRAINING, VOCABULARY, token_shards

Shape = tuple[int, int]


class Trainings:
    """In place of the training: it adds 1 to each weight of a model that starts from another one."""

    def __init__(self) -> None:
        self.done: list[Shape] = []
        self.starts: list[Manifest | None] = []
        self.stop_at: Shape | None = None

    def __call__(
        self, model: ModelConfig, training: TrainingConfig, shards: Manifest, tokenizer: Manifest, store: Store,
        log: EventLog, *, start: Manifest | None, **_: Any,
    ) -> Manifest:  # fmt: skip
        recipe = training_recipe(model, training, shards, tokenizer, start)
        if (found := store.find(recipe)) is not None:
            return found
        shape = (model.num_hidden_layers, training.batch.sequence_length)
        if shape == self.stop_at:
            raise Preempted("stopped")
        self.done.append(shape)
        self.starts.append(start)
        made = Decoder(model, VOCABULARY)
        initialise(made, training.seed)
        with store.stage("checkpoint", recipe) as stage, torch.no_grad():
            if start is not None:
                made.load_state_dict(load(start.verify()).state_dict(), strict=True)
                for parameter in made.parameters():
                    parameter += 1
            save(made, stage.path)
            return stage.commit(CheckpointCounts(steps=1, tokens=1))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found = Trainings()
    monkeypatch.setattr("llm.training.train.train", found)
    monkeypatch.setattr("llm.tracking.live.LiveDelivery", lambda *_: nullcontext())
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def train(store: Store, stages: list[dict[str, int]], **training: Any) -> Manifest:
    folder = RunFolder(store.root.parent / "run")
    folder.path.mkdir(exist_ok=True)
    config = RunConfig.model_validate({
        "storage": {"uri": str(store.root)},
        "model": {**MODEL.model_dump(), "num_hidden_layers": 4},
        "training": {**TRAINING.model_dump(), "stages": stages, **training},
    })  # fmt: skip
    shards, tokenizer = token_shards(store)
    context = Context(config, folder, store, EventLog(folder.events))
    return body(context, {"tokenize": shards, "tokenizer": tokenizer})


SHORT, SHALLOW = {"steps": 3, "num_hidden_layers": 2, "sequence_length": 8}, {"steps": 3, "num_hidden_layers": 2}


def test_a_stage_starts_from_the_grown_weights_of_the_one_before_it(trainings: Trainings, store: Store):
    made = train(store, [SHORT, SHALLOW])
    assert trainings.done == [(2, 8), (2, 16), (4, 16)]
    first = Decoder(MODEL, VOCABULARY)
    initialise(first, TRAINING.seed)
    expected, found = first.state_dict(), load(made.verify()).state_dict()
    assert read_config(made.folder)[0].num_hidden_layers == 4
    for name, weight in found.items():
        for copied, layer in (("layers.2.", "layers.0."), ("layers.3.", "layers.1.")):
            name = name.replace(copied, layer)
        if name in dict(first.named_parameters()):
            torch.testing.assert_close(weight, expected[name] + 2, msg=name)
    messages = [event.message for event in EventLog(store.root.parent / "run" / "events.jsonl").of_kind(Progress)]
    assert "stage 1 of 3: 2 layers, sequences of 8 tokens" in messages
    assert "2 layers are copied to 4: [0, 1, 0, 1]" in messages


def test_stages_that_are_done_are_not_done_again(trainings: Trainings, store: Store):
    trainings.stop_at = (4, 16)
    with pytest.raises(Preempted):
        train(store, [SHORT, SHALLOW])
    trainings.stop_at = None
    made = train(store, [SHORT, SHALLOW])
    assert trainings.done == [(2, 8), (2, 16), (4, 16)]
    assert train(store, [SHORT, SHALLOW]) == made
    train(store, [SHORT, {**SHALLOW, "steps": 4}])
    assert trainings.done[3:] == [(2, 16), (4, 16)], "the first stage is that of before"


def test_without_stages_nothing_is_different(trainings: Trainings, store: Store):
    made = train(store, [])
    assert trainings.done == [(4, 16)]
    assert trainings.starts == [None]
    assert [parent.kind for parent in made.parents] == ["shards", "tokenizer"]


def test_a_checkpoint_with_fewer_layers_is_grown_where_that_is_asked_for(trainings: Trainings, store: Store):
    small = train(store, [SHALLOW])
    (half,) = (parent for parent in small.parents if parent.kind == "checkpoint")
    (before,) = Manifest.read_uri(half.uri).parents
    with pytest.raises(UserError, match=r"model.num_hidden_layers is 2 there, and 4 in the configuration"):
        train(store, [], start_from=before.id)
    grown = train(store, [], start_from=before.id, grow=True)
    assert read_config(grown.folder)[0].num_hidden_layers == 4
