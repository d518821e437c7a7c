from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from llm.config.sections import GateConfig
from llm.errors import UserError
from llm.evaluation.gate.comparison import check_floors, compare, decide, reason

CONFIG = GateConfig(bootstrap_resamples=1_000, non_inferiority_margin=0.02)


def pairs(difference: dict[str, float], documents: int = 60, seed: int = 0, noise: float = 0.02) -> pl.DataFrame:
    """Documents of each domain on which the candidate needs `difference` more bits per byte, up to noise."""
    rng = np.random.default_rng(seed)
    frames = []
    for domain, mean in difference.items():
        sizes = np.exp(rng.normal(7, 0.8, documents)).round() + 1
        champion = sizes * rng.normal(2, 0.4, documents) * math.log(2)
        candidate = champion + sizes * rng.normal(mean, noise, documents) * math.log(2)
        frames.append(
            pl.DataFrame(
                {
                    "id": [f"{domain}{i:05}" for i in range(documents)],
                    "domain": domain,
                    "origin": [f"{domain}{i:05}" for i in range(documents)],
                    "bytes": sizes.astype(int),
                    "candidate": candidate,
                    "champion": champion,
                }
            )
        )
    return pl.concat(frames)


def verdict(rows: pl.DataFrame, config: GateConfig = CONFIG) -> str:
    return decide(compare(rows, config))


def test_a_candidate_that_is_better_everywhere_passes():
    assert verdict(pairs({"code": -0.05, "prose": -0.04})) == "PASS"


def test_a_candidate_that_is_better_overall_and_slightly_worse_in_a_domain_passes_within_the_margin():
    assert verdict(pairs({"code": -0.10, "prose": 0.005})) == "PASS"


def test_a_candidate_that_is_better_overall_but_worse_than_the_margin_in_a_domain_fails():
    comparisons = compare(pairs({"code": -0.20, "prose": 0.06}), CONFIG)
    assert decide(comparisons) == "FAIL"
    assert [(c.domain, c.passed, c.failed) for c in comparisons] == [
        ("overall", True, False), ("code", True, False), ("prose", False, True),
    ]  # fmt: skip


def test_a_candidate_that_is_worse_overall_fails():
    assert verdict(pairs({"code": 0.01, "prose": 0.01}, documents=300)) == "FAIL"


def test_a_difference_that_the_documents_cannot_show_is_inconclusive():
    comparisons = compare(pairs({"code": 0.0, "prose": 0.0}, noise=0.3), CONFIG)
    assert decide(comparisons) == "INCONCLUSIVE"
    assert all(comparison.detectable_effect > 0.02 for comparison in comparisons)


def test_a_domain_with_a_single_document_claims_nothing():
    rows = pl.concat([pairs({"code": -0.1}), pairs({"prose": -0.1}, documents=1)])
    comparisons = compare(rows, CONFIG)
    prose = comparisons[-1]
    assert decide(comparisons) == "INCONCLUSIVE"
    assert (prose.low, prose.high, prose.detectable_effect, prose.passed, prose.failed) == (None,) * 3 + (False, False)
    assert "1 document cannot tell" in reason(prose, 0.95)


def test_a_model_that_scores_exactly_alike_is_not_better():
    rows = pairs({"code": 0.0}, noise=0.0)
    assert verdict(rows) == "INCONCLUSIVE"
    assert compare(rows, CONFIG)[0].difference == 0


def test_the_difference_is_paired_so_it_does_not_see_how_hard_the_documents_are():
    comparison = compare(pairs({"code": -0.05}, documents=200), CONFIG)[0]
    assert comparison.high - comparison.low < 0.02
    assert comparison.difference == pytest.approx(comparison.candidate - comparison.champion, abs=1e-9)
    assert comparison.difference == pytest.approx(-0.05, abs=0.01)


@pytest.mark.parametrize("resamples", [1_000])
def test_of_equal_models_about_one_in_forty_passes_and_no_more_fail_than_stated(resamples):
    config = GateConfig(bootstrap_resamples=resamples, non_inferiority_margin=0.5)
    verdicts = [verdict(pairs({"code": 0.0, "prose": 0.0}, documents=30, seed=seed), config) for seed in range(300)]
    assert stats.binomtest(verdicts.count("PASS"), 300, 0.025).pvalue > 0.001
    assert stats.binomtest(verdicts.count("FAIL"), 300, 0.025).pvalue > 0.001


def test_of_models_at_the_margin_of_every_domain_few_pass():
    config = GateConfig(bootstrap_resamples=1_000, non_inferiority_margin=0.02)
    rows = [pairs({"code": -0.2, "prose": 0.02}, documents=30, seed=seed) for seed in range(200)]
    assert stats.binomtest([verdict(r, config) for r in rows].count("PASS"), 200, 0.025).pvalue > 0.001


def test_a_true_difference_of_the_detectable_effect_is_found_four_times_in_five():
    config = GateConfig(bootstrap_resamples=1_000, non_inferiority_margin=0.5)
    effect = np.mean([
        compare(pairs({"code": 0.0}, seed=seed), config)[0].detectable_effect for seed in range(20)
    ])  # fmt: skip
    passed = [verdict(pairs({"code": -effect}, seed=seed), config) for seed in range(300)].count("PASS")
    assert 0.72 < passed / 300 < 0.88


def test_the_order_of_the_documents_does_not_matter_to_the_estimate():
    rows = pairs({"code": -0.01, "prose": 0.0})
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    difference = [{c.domain: c.difference for c in compare(r, CONFIG)} for r in (rows, shuffled)]
    assert difference[0] == pytest.approx(difference[1])


SUMMARY = {
    "overall": {"bits_per_byte": 2.5, "documents": 9},
    "domains": {"code": {"bits_per_byte": 2.2, "documents": 5}, "prose": {"bits_per_byte": 2.9, "documents": 4}},
}


def test_the_first_model_passes_when_it_is_under_every_floor():
    floors = check_floors(SUMMARY, GateConfig(max_bits_per_byte=2.5, max_domain_bits_per_byte={"code": 2.3}))
    assert decide(floors) == "PASS"
    assert [reason(floor, 0.95) for floor in floors] == [
        "overall: 2.500 bits per byte holds the floor of 2.5",
        "code: 2.200 bits per byte holds the floor of 2.3",
    ]


def test_the_first_model_fails_when_it_misses_one_floor():
    floors = check_floors(SUMMARY, GateConfig(max_domain_bits_per_byte={"prose": 2.0}))
    assert decide(floors) == "FAIL"
    assert reason(floors[1], 0.95) == "prose: 2.900 bits per byte misses the floor of 2"


def test_a_floor_for_a_domain_that_was_not_evaluated_is_refused():
    with pytest.raises(UserError, match=r"names poetry: no such domain was evaluated\n  evaluated: code, prose"):
        check_floors(SUMMARY, GateConfig(max_domain_bits_per_byte={"poetry": 2.0}))
