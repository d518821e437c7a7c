"""Evaluations with known scores, without a model, for the gate; and the smallest real corpus, tokenizer and model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import polars as pl
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from llm.config import ModelConfig
from llm.data.documents import CorpusWriter, Document
from llm.evaluation.bits_per_byte.metric import METRIC, PROTOCOL
from llm.evaluation.statistics.pairing import items_file
from llm.model import Decoder, initialise, weights
from llm.storage import Manifest, Recipe, Store

END_OF_TEXT = "<|endoftext|>"
Evaluate = Callable[..., Manifest]


@pytest.fixture
def make_checkpoint(store: Store) -> Callable[[str], Manifest]:
    """Commit a checkpoint that is nothing but its name."""

    def make(name: str) -> Manifest:
        recipe = Recipe("train", {"name": name})
        with store.stage("checkpoint", recipe) as stage:
            (stage.path / "model.safetensors").write_text(name)
            return stage.commit()

    return make


@pytest.fixture
def make_evaluation(store: Store) -> Evaluate:
    """Commit an evaluation of a checkpoint from its items, by metric; one frame is bits per byte."""

    def make(
        checkpoint: Manifest,
        given: pl.DataFrame | dict[str, pl.DataFrame],
        protocol: object = PROTOCOL,
        better: str = METRIC.better,
    ) -> Manifest:
        metrics = {METRIC.name: given} if isinstance(given, pl.DataFrame) else given
        about = {"unit": METRIC.unit, "better": better, "item": METRIC.item, "protocol": protocol}
        summary = {
            "intervals": {"confidence": 0.95, "resamples": 1_000, "seed": 1234},
            "metrics": {name: about | figures(items) for name, items in metrics.items()},
        }
        recipe = Recipe("evaluation", {name: items["value"].to_list() for name, items in metrics.items()}, [checkpoint])
        with store.stage("evaluation", recipe) as stage:
            (stage.path / "items").mkdir()
            for name, items in metrics.items():
                items.write_parquet(stage.path / items_file(name))
            (stage.path / "summary.json").write_text(json.dumps(summary))
            return stage.commit()

    def figures(items: pl.DataFrame) -> dict[str, object]:
        overall = {"value": 2.5, "items": len(items)}
        return {"overall": overall, "domains": dict.fromkeys(items["domain"].unique().sort(), overall)}

    return make


@pytest.fixture
def corpus(store):
    """Twelve short documents of code and one long one of prose, all in the test split."""
    rng = random.Random(0)
    with store.stage("corpus", Recipe("ingest", {})) as stage:
        with CorpusWriter(stage.path) as writer:
            for number in range(12):
                text = f"def f{number}():\n" + "".join(rng.choices("    return x+1\n", k=rng.randint(50, 300)))
                writer.add(Document(text, f"{number}.py", "code"), "test")
            writer.add(Document("Ein längerer Text. " * 40, "a.txt", "prose"), "test")
            for split in ("train", "validation"):
                writer.add(Document(f"in {split}", split, "code"), split)
        return stage.commit()


@pytest.fixture
def tokenizer(store):
    """Byte-level, without a merge: a token is a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END_OF_TEXT: 0} | {symbol: i for i, symbol in enumerate(alphabet, start=1)}
    bpe = Tokenizer(models.BPE(vocabulary, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(END_OF_TEXT, special=True)])
    with store.stage("tokenizer", Recipe("tokenizer", {})) as stage:
        bpe.save(str(stage.path / "tokenizer.json"))
        (stage.path / "tokenizer_config.json").write_text("{}")
        return stage.commit()


@pytest.fixture
def make_model(store, tokenizer):
    """Commit an untrained checkpoint; `certainty` scales its weights, 0 makes all tokens equally likely."""

    def make(certainty: float, parents=None, training: dict | None = None):
        config = ModelConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=64,
        )  # fmt: skip
        model = Decoder(config, 257)
        initialise(model, seed=1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(certainty)
        recipe = Recipe("train", {"certainty": certainty}, [tokenizer] if parents is None else parents)
        with store.stage("checkpoint", recipe) as stage:
            weights.save(model, stage.path)
            (stage.path / "training.json").write_text(json.dumps(training or {"sequence_length": 32}))
            return stage.commit()

    return make
