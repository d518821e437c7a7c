"""The smallest real training: shards of a made-up language, a two-layer model, and the call in a process of its own.

Used by the unit and the integration tests of training. `python -m tests.cases.training FOLDER KEY=VALUE…` trains; a KEY
is one below `training`, such as `length.steps`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from llm.config import ModelConfig, TrainingConfig
from llm.data.shards import ShardWriter, write_meta
from llm.errors import GristmillError
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import CheckpointCounts, TokenizerCounts

if TYPE_CHECKING:
    from llm.training.trainer import Trainer

VOCABULARY = 64
MODEL = ModelConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                    num_key_value_heads=1, max_position_embeddings=32)  # fmt: skip
TRAINING = TrainingConfig.model_validate({
    "batch": {"tokens": 16 * 8, "sequence_length": 16, "micro_batch_size": 2},
    "length": {"steps": 12},
    "optimizer": {"name": "adamw", "lr": 1e-2},
    "parallel": {"processes": 2, "backend": {"name": "torch"}},
    "checkpoints": {"every_steps": 4},
    "validation": {"every_steps": 6},
})  # fmt: skip


def training(settings: Mapping[str, Any]) -> TrainingConfig:
    """TRAINING with other settings, by dotted keys such as `optimizer.lr`."""
    document = TRAINING.model_dump()
    for key, value in settings.items():
        *parents, last = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[last] = value
    return TrainingConfig.model_validate(document)


def token_shards(store: Store) -> tuple[Manifest, Manifest]:
    """Shards and the tokenizer's manifest; the same content at every call."""
    tokenizer_recipe = Recipe("tokenizer", {"made_up": VOCABULARY})
    with store.stage("tokenizer", tokenizer_recipe) as stage:
        (stage.path / "tokenizer.json").write_text("{}")
        tokenizer = stage.commit(TokenizerCounts(vocab_size=VOCABULARY, documents_round_tripped=6, bytes_per_token={}))
    with store.stage("shards", Recipe("shards", {}, [tokenizer])) as stage:
        draws = np.random.default_rng(7)
        for split, documents in (("train", 60), ("validation", 6), ("test", 6)):
            with ShardWriter(stage.path, split, VOCABULARY) as writer:
                for _ in range(documents):
                    steps = draws.integers(1, 4, size=draws.integers(10, 60))
                    writer.add(np.concatenate([[0], np.cumsum(steps) % (VOCABULARY - 1) + 1]), "made-up")
        write_meta(stage.path, VOCABULARY, 0)
        return stage.commit(), tokenizer


def trainers(home: Path) -> Callable[..., Trainer]:
    """Build trainers of this rank, as the worker does; their workspace and their folder are `home / "work"`."""
    from llm.training.plan import TrainingPlan
    from llm.training.trainer import Trainer

    store = Store(home / "store")
    shards, tokenizer = token_shards(store)
    folder = home / "work"
    folder.mkdir()

    def make(
        settings: Mapping[str, Any] = {},
        workspace: str = folder.as_uri(),
        model: Mapping[str, Any] = {},
        start: Manifest | None = None,
    ) -> Trainer:
        config = training({"parallel.processes": 1, **settings})
        plan = TrainingPlan(
            model=MODEL.model_copy(update=model), training=config, shards=shards, tokenizer=tokenizer, start=start,
            end_of_text=0, store=store.objects.uri, workspace=workspace, recipe="", events=str(home / "events.jsonl"),
        )  # fmt: skip
        return Trainer(plan, folder)

    return make


def checkpoint(store: Store, seed: int = 5) -> Manifest:
    """A checkpoint of MODEL with random weights."""
    from llm.model import Decoder, initialise
    from llm.model.weights import save

    model = Decoder(MODEL, VOCABULARY)
    initialise(model, seed)
    with store.stage("checkpoint", Recipe("checkpoint", {"made_up": seed})) as stage:
        save(model, stage.path)
        return stage.commit(CheckpointCounts(steps=0, tokens=0))


def run(folder: Path, settings: Mapping[str, Any], *, retrain: bool = False, starts: bool = False) -> Manifest:
    """Train with these settings into `folder/store`, events in `folder/events.jsonl`; `starts`: from `checkpoint`."""
    from llm.training.train import train

    store = Store(folder / "store")
    shards, tokenizer = token_shards(store)
    log = EventLog(folder / "events.jsonl")
    start = checkpoint(store) if starts else None
    settings = {**settings, "start_from": start.id} if start is not None else settings
    return train(MODEL, training(settings), shards, tokenizer, store, log, retrain=retrain, start=start)


def main(folder: str, *overrides: str) -> int:
    """Train as a step would, and end with its exit code."""
    settings = {key: yaml.safe_load(value) for key, value in (override.split("=", 1) for override in overrides)}
    try:
        run(Path(folder), settings)
    except GristmillError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
