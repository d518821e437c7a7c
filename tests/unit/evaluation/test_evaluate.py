from __future__ import annotations

import json
import math
import random

import polars as pl
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from llm.config import ModelConfig
from llm.config.sections import EvaluationConfig, GateConfig
from llm.data.documents import CorpusWriter, Document
from llm.errors import UserError
from llm.evaluation.evaluate import evaluate, rescore
from llm.evaluation.gate.gate import Champion, judge
from llm.evaluation.statistics.pairing import covers
from llm.model import Decoder, initialise, weights
from llm.runs.event_kinds import Progress
from llm.storage import Recipe

END_OF_TEXT = "<|endoftext|>"
CONFIG = EvaluationConfig(
    max_bytes_per_domain=4_000, bootstrap_resamples=1_000, prompts=("def ", "é"), sample_tokens=6, batch_size=4
)


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


def read(evaluation, name):
    return json.loads(evaluation.file(name).read_text(encoding="utf-8"))


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary(store, log, corpus, tokenizer, make_model):
    evaluation = evaluate(CONFIG, make_model(0.0), tokenizer, corpus, store, log)
    summary = read(evaluation, "summary.json")
    assert summary["overall"]["bits_per_byte"] == pytest.approx(math.log2(257), abs=1e-5)
    assert summary["overall"]["perplexity"] == pytest.approx(257, abs=1e-2)
    assert evaluation.counts["bits_per_byte/code"] == summary["domains"]["code"]["bits_per_byte"]
    assert summary["window_tokens"] == 32


def test_the_products_tell_every_document_and_every_prompt(store, log, corpus, tokenizer, make_model):
    evaluation = evaluate(CONFIG, make_model(4.0), tokenizer, corpus, store, log)
    documents = pl.read_parquet(evaluation.file("documents.parquet"))
    summary = read(evaluation, "summary.json")
    assert documents.columns == ["id", "domain", "origin", "bytes", "tokens", "nats"]
    assert documents.group_by("domain").len().sort("domain").rows() == [("code", 12), ("prose", 1)]
    bits = documents["nats"].sum() / math.log(2)
    assert summary["overall"]["bits_per_byte"] == pytest.approx(bits / documents["bytes"].sum(), abs=1e-6)
    assert summary["domains"]["code"]["low"] < summary["domains"]["code"]["bits_per_byte"]
    assert summary["domains"]["prose"]["low"] is None
    assert 0 < summary["domains"]["prose"]["xz_bits_per_byte"] < 8
    made = read(evaluation, "samples.json")
    assert [sample["prompt"] for sample in made] == ["def ", "é"]
    assert all(sample["greedy"] and sample["sampled"] for sample in made)


def test_evaluating_again_finds_the_result_and_anew_makes_the_same_one(store, log, corpus, tokenizer, make_model):
    checkpoint = make_model(4.0)
    first = evaluate(CONFIG, checkpoint, tokenizer, corpus, store, log)
    assert evaluate(CONFIG, checkpoint, tokenizer, corpus, store, log) == first
    assert first.id in store.found
    for recipe in store.root.glob("recipes/evaluation-*"):
        recipe.unlink()
    assert evaluate(CONFIG, checkpoint, tokenizer, corpus, store, log) == first


def test_a_champion_of_another_corpus_is_scored_again_with_its_own_tokenizer(store, log, corpus, tokenizer, make_model):
    candidate = evaluate(CONFIG, make_model(0.0), tokenizer, corpus, store, log)
    checkpoint = make_model(12.0)
    less = CONFIG.model_copy(update={"max_bytes_per_domain": 500})
    assert not covers(evaluate(less, checkpoint, tokenizer, corpus, store, log), candidate)
    again = rescore(CONFIG, checkpoint, corpus, store, log)
    assert covers(again, candidate)
    gate = judge(GateConfig(bootstrap_resamples=1_000), candidate, Champion("1", checkpoint, again), store, log)
    assert gate.counts["verdict"] == "INCONCLUSIVE"  # much better, but prose has a single document


def test_a_checkpoint_that_does_not_name_its_tokenizer_cannot_be_scored_again(store, log, corpus, make_model):
    with pytest.raises(UserError, match="does not name its tokenizer"):
        rescore(CONFIG, make_model(1.0, parents=[]), corpus, store, log)


def test_a_model_that_diverged_is_refused_by_the_first_document(store, log, corpus, tokenizer, make_model):
    with pytest.raises(UserError, match=r"no finite probability to 13 of 13 documents\n  The first is [0-9a-f]{32}"):
        evaluate(CONFIG, make_model(float("nan")), tokenizer, corpus, store, log)


def test_without_a_training_length_the_windows_are_the_models_context(store, log, corpus, tokenizer, make_model):
    checkpoint = make_model(0.0, training={"steps": 1})
    assert read(evaluate(CONFIG, checkpoint, tokenizer, corpus, store, log), "summary.json")["window_tokens"] == 64


def test_progress_is_told(store, log, corpus, tokenizer, make_model):
    evaluate(CONFIG, make_model(0.0), tokenizer, corpus, store, log)
    last = [event for event in log.of_kind(Progress) if event.message == "tokens scored"][-1]
    assert last.done == last.total > 0
