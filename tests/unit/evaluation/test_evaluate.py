from __future__ import annotations

import json
import math

import polars as pl
import pytest

from llm.config.sections import EvaluationConfig, GateConfig
from llm.errors import UserError
from llm.evaluation.evaluate import evaluate, rescore
from llm.evaluation.gate.gate import Champion, judge
from llm.evaluation.statistics.pairing import covers
from llm.runs.event_kinds import MetricMeasured, Progress

CONFIG = EvaluationConfig(max_bytes_per_domain=4_000, bootstrap_resamples=1_000, prompts=("def ", "é"), batch_size=4)


def read(evaluation, name):
    return json.loads(evaluation.file(name).read_text(encoding="utf-8"))


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary(store, log, corpus, tokenizer, make_model):
    evaluation = evaluate(CONFIG, make_model(0.0), tokenizer, corpus, store, log)
    summary = read(evaluation, "summary.json")
    bits = summary["metrics"]["bits_per_byte"]
    assert bits["overall"]["value"] == pytest.approx(math.log2(257), abs=1e-5)
    assert bits["overall"]["details"]["perplexity"] == pytest.approx(257, abs=1e-2)
    assert evaluation.counts["bits_per_byte/code"] == bits["domains"]["code"]["value"]
    assert {"bits_per_byte", "perplexity", "documents", "bytes", "tokens"} <= evaluation.counts.keys()
    assert log.of_kind(MetricMeasured)[-1].name == "test/bits_per_byte"
    assert summary["window_tokens"] == 32


def test_the_products_tell_every_document_and_every_prompt(store, log, corpus, tokenizer, make_model):
    evaluation = evaluate(CONFIG, make_model(4.0), tokenizer, corpus, store, log)
    documents = pl.read_parquet(evaluation.file("items/bits_per_byte.parquet"))
    summary = read(evaluation, "summary.json")["metrics"]["bits_per_byte"]
    assert documents.columns == ["id", "domain", "cluster", "weight", "value", "tokens", "nats"]
    assert documents.group_by("domain").len().sort("domain").rows() == [("code", 12), ("prose", 1)]
    bits = documents["nats"].sum() / math.log(2)
    assert summary["overall"]["value"] == pytest.approx(bits / documents["weight"].sum(), abs=1e-6)
    assert summary["domains"]["code"]["low"] < summary["domains"]["code"]["value"]
    assert summary["domains"]["prose"]["low"] is None
    assert 0 < summary["domains"]["prose"]["references"]["xz"] < 8
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
    gate = judge(GateConfig(), candidate, Champion("1", checkpoint, again), store, log)
    assert gate.counts["verdict"] == "INCONCLUSIVE"  # much better, but prose has a single document


def test_a_checkpoint_that_does_not_name_its_tokenizer_cannot_be_scored_again(store, log, corpus, make_model):
    with pytest.raises(UserError, match="does not name its tokenizer"):
        rescore(CONFIG, make_model(1.0, parents=[]), corpus, store, log)


def test_a_model_that_diverged_is_refused_by_the_first_document(store, log, corpus, tokenizer, make_model):
    with pytest.raises(UserError, match=r"no finite probability to 13 of 13 documents\n  The first is [0-9a-f]{32}"):
        evaluate(CONFIG, make_model(1e20), tokenizer, corpus, store, log)


def test_without_a_training_length_the_windows_are_the_models_context(store, log, corpus, tokenizer, make_model):
    checkpoint = make_model(0.0, training={"steps": 1})
    assert read(evaluate(CONFIG, checkpoint, tokenizer, corpus, store, log), "summary.json")["window_tokens"] == 64


def test_progress_is_told(store, log, corpus, tokenizer, make_model):
    evaluate(CONFIG, make_model(0.0), tokenizer, corpus, store, log)
    last = [event for event in log.of_kind(Progress) if event.message == "tokens scored"][-1]
    assert last.done == last.total > 0
