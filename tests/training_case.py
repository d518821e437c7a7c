"""The smallest real training: shards of a made-up language, a two-layer model, and the call in a process of its own.

Used by the unit and the integration tests of training. `python -m tests.training_case FOLDER KEY=VALUE…` trains.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from llm.config import ModelConfig, TrainingConfig
from llm.data.shards import ShardWriter, write_meta
from llm.errors import GristmillError
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import TokenizerCounts

VOCABULARY = 64
MODEL = ModelConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                    num_key_value_heads=1, max_position_embeddings=32)  # fmt: skip
TRAINING = TrainingConfig(
    backend="torch", processes=2, sequence_length=16, global_batch_tokens=16 * 8, micro_batch_size=2,
    max_steps=12, checkpoint_every_steps=4, validate_every_steps=6, lr=1e-2,
)  # fmt: skip


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


def run(folder: Path, *, retrain: bool = False, **settings: Any) -> Manifest:
    """Train with these settings into `folder/store`, events in `folder/events.jsonl`."""
    from llm.training.train import train

    store = Store(folder / "store")
    shards, tokenizer = token_shards(store)
    training = TrainingConfig.model_validate({**TRAINING.model_dump(), **settings})
    return train(MODEL, training, shards, tokenizer, store, EventLog(folder / "events.jsonl"), retrain=retrain)


def main(folder: str, *overrides: str) -> int:
    """Train as a step would, and end with its exit code."""
    settings = {key: yaml.safe_load(value) for key, value in (override.split("=", 1) for override in overrides)}
    try:
        run(Path(folder), **settings)
    except GristmillError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
