from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from llm.config.sections import MetricRule
from llm.errors import UserError
from llm.evaluation.gate.comparison import Comparison, check_floors, decide
from llm.evaluation.gate.comparison import compare as compare_metric
from llm.evaluation.gate.words import reason as reason_of
from llm.evaluation.statistics.intervals import Intervals

RULE = MetricRule(margin=0.02)
INTERVALS = Intervals(confidence=0.95, resamples=1_000, seed=1234)
ABOUT = {"unit": "bits per byte", "better": "lower", "item": "document"}


def pairs(difference: dict[str, float], documents: int = 60, seed: int = 0, noise: float = 0.02) -> pl.DataFrame:
    """Documents of each domain on which the candidate needs `difference` more bits per byte, up to noise."""
    rng = np.random.default_rng(seed)
    frames = []
    for domain, mean in difference.items():
        sizes = np.exp(rng.normal(7, 0.8, documents)).round() + 1
        champion = rng.normal(2, 0.4, documents)
        candidate = champion + rng.normal(mean, noise, documents)
        frames.append(
            pl.DataFrame(
                {
                    "id": [f"{domain}{i:05}" for i in range(documents)],
                    "domain": domain,
                    "cluster": [f"{domain}{i:05}" for i in range(documents)],
                    "weight": sizes.astype(int),
                    "candidate": candidate,
                    "champion": champion,
                }
            )
        )
    return pl.concat(frames)


def compare(rows: pl.DataFrame, rule: MetricRule | None = RULE, better: str = "lower") -> list[Comparison]:
    return compare_metric("bits_per_byte", ABOUT | {"better": better}, rows, rule, INTERVALS)


def verdict(rows: pl.DataFrame, rule: MetricRule = RULE) -> str:
    return decide(compare(rows, rule))


def reason(comparison: Comparison) -> str:
    return reason_of(comparison.as_json(), 0.95)


def test_a_candidate_that_is_better_everywhere_passes():
    assert verdict(pairs({"code": -0.05, "prose": -0.04})) == "PASS"


def test_a_candidate_that_is_better_overall_and_slightly_worse_in_a_domain_passes_within_the_margin():
    assert verdict(pairs({"code": -0.10, "prose": 0.005})) == "PASS"


def test_a_candidate_that_is_better_overall_but_worse_than_the_margin_in_a_domain_fails():
    comparisons = compare(pairs({"code": -0.20, "prose": 0.06}))
    assert decide(comparisons) == "FAIL"
    assert [(c.domain, c.passed, c.failed) for c in comparisons] == [
        ("overall", True, False), ("code", True, False), ("prose", False, True),
    ]  # fmt: skip


def test_a_candidate_that_is_worse_overall_fails():
    assert verdict(pairs({"code": 0.01, "prose": 0.01}, documents=300)) == "FAIL"


def test_a_difference_that_the_documents_cannot_show_is_inconclusive():
    comparisons = compare(pairs({"code": 0.0, "prose": 0.0}, noise=0.3))
    assert decide(comparisons) == "INCONCLUSIVE"
    assert all(comparison.detectable_effect > 0.02 for comparison in comparisons)


def test_a_domain_with_a_single_document_claims_nothing():
    rows = pl.concat([pairs({"code": -0.1}), pairs({"prose": -0.1}, documents=1)])
    comparisons = compare(rows)
    prose = comparisons[-1]
    assert decide(comparisons) == "INCONCLUSIVE"
    assert (prose.low, prose.high, prose.detectable_effect, prose.passed, prose.failed) == (None,) * 3 + (False, False)
    assert "1 document cannot decide" in reason(prose)


def test_a_metric_in_which_more_is_better_is_judged_the_other_way_round():
    rows = pairs({"code": 0.05, "prose": 0.04})
    assert decide(compare(rows, better="higher")) == "PASS"
    assert decide(compare(rows, better="lower")) == "FAIL"
    worse = pairs({"code": 0.2, "prose": -0.06})
    assert [(c.domain, c.passed, c.failed) for c in compare(worse, better="higher")] == [
        ("overall", True, False), ("code", True, False), ("prose", False, True),
    ]  # fmt: skip


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_mirrored_difference_in_a_mirrored_metric_has_the_same_outcome(better):
    sign = 1 if better == "lower" else -1
    for mean in (-0.03, 0.005, 0.03):
        comparisons = compare(pairs({"code": sign * mean}, noise=0.0), better=better)
        assert decide(comparisons) == ("PASS" if mean < 0 else "FAIL")


def test_a_guard_passes_an_equal_candidate_and_fails_one_beyond_the_margin():
    guard = MetricRule(margin=0.02, overall="non-inferiority")
    assert verdict(pairs({"code": 0.0, "prose": 0.001}), guard) == "PASS"
    assert verdict(pairs({"code": 0.03, "prose": 0.03}), guard) == "FAIL"


def test_a_metric_without_a_rule_is_told_and_decides_nothing():
    comparisons = compare(pairs({"code": 0.2}), rule=None)
    assert {comparison.rule for comparison in comparisons} == {"none"}
    assert decide(comparisons) == "PASS"
    assert reason(comparisons[0]).startswith("overall: worse (shown, decides nothing): +0.19")


def test_as_many_domains_as_effective_documents_cannot_tell_and_say_why():
    rows = pairs({f"domain {number}": -0.1 for number in range(6)}, documents=5)
    heavy = pl.int_range(pl.len()).over("domain") == 0
    comparisons = compare(rows.with_columns(weight=pl.when(heavy).then(100_000).otherwise(1)))
    overall = comparisons[0].as_json()
    assert decide(comparisons) == "INCONCLUSIVE"
    assert (overall["low"], overall["high"], overall["detectable_effect"]) == (None, None, None)
    assert "30 documents cannot decide (by weight they are 6.0 equal ones in 6 domains, and an interval" in reason(
        comparisons[0]
    )


def test_what_is_not_finite_is_missing_in_json():
    comparison = replace(compare(pairs({"code": 0.0}))[0], detectable_effect=math.inf, low=math.nan)
    row = comparison.as_json()
    assert (row["detectable_effect"], row["low"]) == (None, None)
    json.dumps(row, allow_nan=False)


def test_a_model_that_scores_exactly_alike_is_not_better():
    rows = pairs({"code": 0.0}, noise=0.0)
    assert verdict(rows) == "INCONCLUSIVE"
    assert compare(rows)[0].difference == 0


def test_the_difference_is_paired_so_it_does_not_see_how_hard_the_documents_are():
    comparison = compare(pairs({"code": -0.05}, documents=200))[0]
    assert comparison.high - comparison.low < 0.02
    assert comparison.difference == pytest.approx(comparison.candidate - comparison.champion, abs=1e-9)
    assert comparison.difference == pytest.approx(-0.05, abs=0.01)


def test_of_equal_models_about_one_in_forty_passes_and_no_more_fail_than_stated():
    rule = MetricRule(margin=0.5)
    verdicts = [verdict(pairs({"code": 0.0, "prose": 0.0}, documents=30, seed=seed), rule) for seed in range(300)]
    assert stats.binomtest(verdicts.count("PASS"), 300, 0.025).pvalue > 0.001
    assert stats.binomtest(verdicts.count("FAIL"), 300, 0.025).pvalue > 0.001


def test_of_models_at_the_margin_of_every_domain_few_pass():
    rule = MetricRule(margin=0.02)
    rows = [pairs({"code": -0.2, "prose": 0.02}, documents=30, seed=seed) for seed in range(200)]
    assert stats.binomtest([verdict(r, rule) for r in rows].count("PASS"), 200, 0.025).pvalue > 0.001


def test_a_true_difference_of_the_detectable_effect_is_found_four_times_in_five():
    rule = MetricRule(margin=0.5)
    effect = np.mean([
        compare(pairs({"code": 0.0}, seed=seed), rule)[0].detectable_effect for seed in range(20)
    ])  # fmt: skip
    passed = [verdict(pairs({"code": -effect}, seed=seed), rule) for seed in range(300)].count("PASS")
    assert 0.72 < passed / 300 < 0.88


def test_the_order_of_the_documents_does_not_matter_to_the_estimate():
    rows = pairs({"code": -0.01, "prose": 0.0})
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    difference = [{c.domain: c.difference for c in compare(r)} for r in (rows, shuffled)]
    assert difference[0] == pytest.approx(difference[1])


SUMMARY = ABOUT | {
    "overall": {"value": 2.5, "items": 9},
    "domains": {"code": {"value": 2.2, "items": 5}, "prose": {"value": 2.9, "items": 4}},
}


def test_the_first_model_passes_when_it_is_under_every_floor():
    floors = check_floors("bits_per_byte", SUMMARY, MetricRule(margin=1, floor=2.5, domain_floors={"code": 2.3}))
    assert decide(floors) == "PASS"
    assert [reason(floor) for floor in floors] == [
        "overall: 2.500 bits per byte holds the floor of 2.5",
        "code: 2.200 bits per byte holds the floor of 2.3",
    ]


def test_a_floor_of_a_metric_in_which_more_is_better_holds_from_below():
    high = SUMMARY | {"better": "higher"}
    floors = check_floors("accuracy", high, MetricRule(margin=1, floor=2.5, domain_floors={"code": 2.3}))
    assert [floor.passed for floor in floors] == [True, False]


def test_the_first_model_fails_when_it_misses_one_floor():
    floors = check_floors("bits_per_byte", SUMMARY, MetricRule(margin=1, floor=3, domain_floors={"prose": 2.0}))
    assert decide(floors) == "FAIL"
    assert reason(floors[1]) == "prose: 2.900 bits per byte misses the floor of 2"


def test_a_floor_for_a_domain_that_was_not_evaluated_is_refused():
    with pytest.raises(UserError, match=r"names poetry: no such domain was evaluated\n  evaluated: code, prose"):
        check_floors("bits_per_byte", SUMMARY, MetricRule(margin=1, domain_floors={"poetry": 2.0}))


@pytest.mark.parametrize("kind", [pl.UInt8, pl.UInt32, pl.Int8, pl.Float32])
def test_a_worse_candidate_fails_whatever_kind_of_number_its_values_are(kind: type[pl.DataType]):
    champion = np.random.default_rng(0).integers(40, 60, 200)
    rows = pairs({"code": 0.0}, documents=200).with_columns(
        candidate=pl.Series(champion - 10).cast(kind), champion=pl.Series(champion).cast(kind)
    )
    comparisons = compare(rows, better="higher")
    assert decide(comparisons) == "FAIL"
    assert [one.difference for one in comparisons] == [-10.0, -10.0]


def test_yes_and_no_are_compared_as_one_and_zero():
    rows = pairs({"code": 0.0}).with_columns(candidate=pl.lit(value=False), champion=pl.lit(value=True))
    assert [one.difference for one in compare(rows, better="higher")] == [-1.0, -1.0]
