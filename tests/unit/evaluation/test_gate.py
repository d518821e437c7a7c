from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

from llm.config.sections import GateConfig
from llm.errors import UserError
from llm.evaluation.gate.gate import Champion, judge
from llm.evaluation.gate.words import verdict_in_words
from llm.evaluation.statistics.pairing import PROTOCOL, covers

CONFIG = GateConfig(bootstrap_resamples=1_000)


def scores(shift: float = 0.0, documents: int = 40, seed: int = 0) -> pl.DataFrame:
    """An evaluation's documents, in two domains; `shift` is in bits per byte and the same for all, up to noise."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(500, 5_000, documents)
    hardness = rng.normal(2, 0.4, documents)
    noise = np.random.default_rng(seed).normal(0, 0.01, documents)
    return pl.DataFrame(
        {
            "id": [f"{i:032x}" for i in range(documents)],
            "domain": ["code" if i % 2 else "prose" for i in range(documents)],
            "origin": [f"{i:032x}" for i in range(documents)],
            "bytes": sizes,
            "tokens": sizes // 3,
            "nats": sizes * (hardness + shift + noise) * math.log(2),
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
    strict = GateConfig(max_bits_per_byte=2.0)
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
    assert read(judge(CONFIG, fewer, champion, store, log))["comparisons"][0]["documents"] == 30


def test_a_champion_of_another_protocol_is_refused(store, log, champion, candidate):
    evaluation = candidate(-0.1, protocol=PROTOCOL | {"dtype": "bfloat16"})
    assert not covers(champion.evaluation, evaluation)
    with pytest.raises(UserError, match=r'different protocols\n  candidate: .*"dtype": "bfloat16"'):
        judge(CONFIG, evaluation, champion, store, log)


def test_an_evaluation_that_was_changed_is_refused(store, log, champion, candidate):
    evaluation = candidate(-0.1)
    (evaluation.folder / "documents.parquet").write_bytes(b"better")
    with pytest.raises(UserError, match=r"documents\.parquet of evaluation .* is damaged"):
        judge(CONFIG, evaluation, champion, store, log)


def test_an_inconclusive_verdict_says_what_could_have_been_found_and_what_to_do(store, log, champion, candidate):
    lines = verdict_in_words(read(judge(CONFIG, candidate(0.0), champion, store, log)))
    assert lines[0] == (
        "INCONCLUSIVE against champion version 3: the documents cannot tell, so the candidate is not promoted"
    )
    assert any("overall: a difference of 0.00" in line for line in lines)
    assert "raise evaluation.max_bytes_per_domain" in lines[-1]
