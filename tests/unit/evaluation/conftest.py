"""Evaluations with known scores, without a model: what the gate reads."""

from __future__ import annotations

import json
from collections.abc import Callable

import polars as pl
import pytest

from llm.evaluation.statistics.pairing import PROTOCOL
from llm.storage import Manifest, Recipe, Store

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
    """Commit an evaluation of a checkpoint from its documents (id, domain, bytes, nats)."""

    def make(checkpoint: Manifest, documents: pl.DataFrame, protocol: object = PROTOCOL) -> Manifest:
        figures = {"bits_per_byte": 2.5, "documents": len(documents)}
        summary = {
            "protocol": protocol,
            "overall": figures,
            "domains": dict.fromkeys(documents["domain"].unique().sort(), figures),
        }
        recipe = Recipe("evaluation", {"scores": documents["nats"].to_list()}, [checkpoint])
        with store.stage("evaluation", recipe) as stage:
            documents.write_parquet(stage.path / "documents.parquet")
            (stage.path / "summary.json").write_text(json.dumps(summary))
            return stage.commit()

    return make
