from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from llm.config import compose
from llm.config.sections import GateConfig
from llm.errors import UserError
from llm.evaluation.bits_per_byte.metric import PROTOCOL
from llm.evaluation.gate.gate import Champion, judge
from llm.evaluation.gate.words import verdict_in_words
from llm.evaluation.statistics.pairing import covers
from llm.storage import Recipe

CONFIG = GateConfig()


def scores(shift: float = 0.0, documents: int = 40, seed: int = 0) -> pl.DataFrame:
    """Items of bits per byte, in two domains; `shift` is in bits per byte and the same for all, up to noise."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(500, 5_000, documents)
    hardness = rng.normal(2, 0.4, documents)
    noise = np.random.default_rng(seed).normal(0, 0.01, documents)
    return pl.DataFrame(
        {
            "id": [f"{i:032x}" for i in range(documents)],
            "domain": ["code" if i % 2 else "prose" for i in range(documents)],
            "cluster": [f"{i:032x}" for i in range(documents)],
            "weight": sizes,
            "value": hardness + shift + noise,
        }
    )


def read(gate):
    return json.loads(gate.file("gate.json").read_text())


@pytest.fixture
def champion(make_checkpoint, make_evaluation):
    checkpoint = make_checkpoint("champion")
    return Champion("3", checkpoint, make_evaluation(checkpoint, scores()))


@pytest.fixture
def candidate(make_checkpoint, make_evaluation):
    def make(shift, **changes):
        return make_evaluation(make_checkpoint("candidate"), scores(shift, seed=1), **changes)

    return make


def test_a_better_candidate_passes_and_the_counts_say_so(store, log, champion, candidate):
    gate = judge(CONFIG, candidate(-0.1), champion, store, log)
    assert gate.counts == {"verdict": "PASS", "passed": 1}
    document = read(gate)
    assert [c["domain"] for c in document["comparisons"]] == ["overall", "code", "prose"]
    assert document["champion"] == "3"
    assert document["reasons"][0].startswith("overall: better: -0.")


def test_a_worse_candidate_fails_without_an_exception(store, log, champion, candidate):
    gate = judge(CONFIG, candidate(0.1), champion, store, log)
    assert gate.counts == {"verdict": "FAIL", "passed": 0}
    assert any("prose: worse by more than the margin of 0.02" in reason for reason in read(gate)["reasons"])


def test_the_champion_itself_passes_as_what_it_is(store, log, champion):
    gate = judge(CONFIG, champion.evaluation, champion, store, log)
    assert gate.counts["verdict"] == "PASS"
    assert read(gate)["reasons"] == ["this checkpoint already is the champion (version 3)"]


def test_the_first_model_is_held_against_the_floors(store, log, candidate):
    assert judge(CONFIG, candidate(0.0), None, store, log).counts["verdict"] == "PASS"
    strict = compose(["gate.metrics.bits_per_byte.floor=2.0"]).gate
    gate = judge(strict, candidate(0.0), None, store, log)
    assert verdict_in_words(read(gate)) == [
        "FAIL against the floors, as there is no champion yet: the candidate is not promoted",
        "overall: 2.500 bits per byte misses the floor of 2",
    ]


def test_judging_again_finds_the_verdict_and_anew_makes_the_same_one(store, log, champion, candidate):
    evaluation = candidate(-0.1)
    gate = judge(CONFIG, evaluation, champion, store, log)
    store.found.clear()
    assert judge(CONFIG, evaluation, champion, store, log) == gate
    assert store.found == {gate.id}
    for recipe in store.root.glob("recipes/gate-*"):
        recipe.unlink()
    assert judge(CONFIG, evaluation, champion, store, log) == gate


def test_a_champion_of_other_documents_is_refused_by_count(store, log, make_checkpoint, make_evaluation, candidate):
    checkpoint = make_checkpoint("champion")
    champion = Champion("3", checkpoint, make_evaluation(checkpoint, scores()[5:]))
    assert not covers(champion.evaluation, candidate(-0.1))
    with pytest.raises(UserError, match="not scored on the same documents: 5 of 40 have no pair"):
        judge(CONFIG, candidate(-0.1), champion, store, log)


def test_a_champion_of_more_documents_is_cut_to_the_candidates(store, log, champion, make_checkpoint, make_evaluation):
    fewer = make_evaluation(make_checkpoint("candidate"), scores(-0.1, seed=1)[:30])
    assert covers(champion.evaluation, fewer)
    assert read(judge(CONFIG, fewer, champion, store, log))["comparisons"][0]["items"] == 30


def test_a_champion_of_another_protocol_is_refused(store, log, champion, candidate):
    evaluation = candidate(-0.1, protocol=PROTOCOL | {"dtype": "bfloat16"})
    assert not covers(champion.evaluation, evaluation)
    with pytest.raises(UserError, match=r'different protocols of bits_per_byte\n  candidate: .*"dtype": "bfloat16"'):
        judge(CONFIG, evaluation, champion, store, log)


def test_text_of_which_little_counts_ends_with_a_verdict(store, log, make_checkpoint, make_evaluation):
    rows = scores(documents=60).with_columns(
        domain=pl.format("domain {}", pl.int_range(pl.len()) % 6),
        weight=pl.when(pl.int_range(pl.len()) < 6).then(100_000).otherwise(1),
    )
    checkpoint = make_checkpoint("champion")
    champion = Champion("3", checkpoint, make_evaluation(checkpoint, rows))
    better = make_evaluation(make_checkpoint("candidate"), rows.with_columns(pl.col("value") - 0.1))
    gate = judge(CONFIG, better, champion, store, log)
    assert gate.counts["verdict"] == "INCONCLUSIVE"
    lines = verdict_in_words(read(gate))
    assert any("60 documents cannot decide (by weight they are 6.0 equal ones in 6 domains" in line for line in lines)
    assert "overall: detectable effect n/a" in lines


def test_every_metric_of_the_evaluation_is_compared_and_those_with_a_rule_decide(
    store, log, make_checkpoint, make_evaluation
):
    checkpoint = make_checkpoint("champion")
    champion = make_evaluation(checkpoint, {"bits_per_byte": scores(), "other": scores()})
    candidate = make_evaluation(make_checkpoint("new"), {"bits_per_byte": scores(-0.1), "other": scores(0.1)})
    gate = judge(CONFIG, candidate, Champion("3", checkpoint, champion), store, log)
    assert gate.counts["verdict"] == "PASS"
    assert any(line.startswith("other, overall: worse (shown, decides nothing)") for line in read(gate)["reasons"])
    both = compose(["gate.metrics.other.margin=0.02"]).gate
    gate = judge(both, candidate, Champion("3", checkpoint, champion), store, log)
    assert gate.counts["verdict"] == "FAIL"
    assert any(line.startswith("other, overall: worse: +0.1") for line in read(gate)["reasons"])


def test_a_champion_without_one_of_the_metrics_is_measured_again(
    store, log, champion, make_checkpoint, make_evaluation
):
    candidate = make_evaluation(make_checkpoint("new"), {"bits_per_byte": scores(-0.1), "other": scores(0.1)})
    assert not covers(champion.evaluation, candidate)
    with pytest.raises(UserError, match="the champion was not measured by other"):
        judge(CONFIG, candidate, champion, store, log)


def test_scores_of_an_earlier_version_are_no_pair_and_cannot_be_judged(store, log, candidate, make_checkpoint):
    checkpoint = make_checkpoint("old")
    with store.stage("evaluation", Recipe("evaluation", {"old": 1}, [checkpoint])) as stage:
        (stage.path / "summary.json").write_text('{"protocol": {}, "overall": {"bits_per_byte": 2.0}}')
        old = stage.commit()
    assert not covers(old, candidate(-0.1))
    with pytest.raises(UserError, match=r"made by an earlier version of Gristmill\n  Run evaluate again."):
        judge(CONFIG, old, None, store, log)


def test_a_rule_for_a_metric_that_was_not_measured_is_refused(store, log, candidate):
    rules = compose(["gate.metrics.accuracy.margin=0.1"]).gate
    with pytest.raises(
        UserError, match=r"gate.metrics names accuracy, which the evaluation did not measure\n  Measured"
    ):
        judge(rules, candidate(0.0), None, store, log)


def test_without_a_floor_the_first_model_passes_and_the_reason_says_so(store, log, candidate):
    rules = compose(["gate.metrics={bits_per_byte: {margin: 0.02}}"]).gate
    gate = judge(rules, candidate(0.0), None, store, log)
    assert (gate.counts["verdict"], read(gate)["reasons"]) == ("PASS", ["gate.metrics sets no floor"])


def test_an_evaluation_that_was_changed_is_refused(store, log, champion, candidate):
    evaluation = candidate(-0.1)
    (evaluation.folder / "items" / "bits_per_byte.parquet").write_bytes(b"better")
    with pytest.raises(UserError, match=r"items/bits_per_byte\.parquet of evaluation .* is damaged"):
        judge(CONFIG, evaluation, champion, store, log)


def test_an_inconclusive_verdict_says_what_could_have_been_found_and_what_to_do(store, log, champion, candidate):
    lines = verdict_in_words(read(judge(CONFIG, candidate(0.0), champion, store, log)))
    assert lines[0] == (
        "INCONCLUSIVE against champion version 3: the documents cannot decide, so the candidate is not promoted"
    )
    assert any("overall: a difference of 0.00" in line for line in lines)
    assert "raise evaluation.max_bytes_per_domain" in lines[-1]
