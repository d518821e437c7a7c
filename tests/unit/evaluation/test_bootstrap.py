from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm.evaluation.statistics.bootstrap import (
    FEWEST_DOCUMENTS,
    collapsed_strata,
    detectable_effect,
    estimate_ratio,
    expanded_level,
    resampled_sums,
)

SETTINGS = {"confidence": 0.95, "resamples": 4_000, "seed": 7}


def documents(count: int, seed: int = 0, mean: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Bits and bytes of `count` documents of uneven size, whose bits per byte are `mean` on average."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(7, 0.8, count)).round()
    return sizes * rng.normal(mean, 0.3, count), sizes


def test_the_estimate_is_the_ratio_of_the_sums():
    bits, sizes = documents(50)
    assert estimate_ratio(bits, sizes, ["code"] * 50, **SETTINGS).value == pytest.approx(bits.sum() / sizes.sum())


def test_the_interval_agrees_with_scipys_bootstrap():
    bits, sizes = documents(400)
    ours = estimate_ratio(bits, sizes, ["code"] * 400, **SETTINGS)
    theirs = stats.bootstrap(
        (bits, sizes), lambda n, d, axis: n.sum(axis) / d.sum(axis), paired=True, method="percentile",
        n_resamples=4_000, rng=np.random.default_rng(1),
    )  # fmt: skip
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.05)


def test_the_standard_error_agrees_with_the_linearised_ratio():
    bits, sizes = documents(300, seed=3)
    residuals = bits - sizes * bits.sum() / sizes.sum()
    expected = math.sqrt(300 / 299 * np.square(residuals).sum()) / sizes.sum()
    assert estimate_ratio(bits, sizes, ["code"] * 300, **SETTINGS).standard_error == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("count", "spread"), [(12, 0.3), (50, 1.0)])
def test_the_interval_misses_the_truth_about_as_often_as_it_says(count, spread):
    rng = np.random.default_rng(11)
    trials, missed = 400, 0
    for trial in range(trials):
        sizes = np.exp(rng.normal(7, spread, count))
        estimate = estimate_ratio(
            sizes * rng.normal(0, 0.1, count), sizes, ["code"] * count, confidence=0.9, resamples=400, seed=trial
        )
        missed += estimate.low is not None and not estimate.low <= 0 <= estimate.high
    assert stats.binomtest(missed, trials, 0.1).pvalue > 0.001


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    bits, sizes = documents(60)
    first, again = (estimate_ratio(bits, sizes, ["code"] * 60, **SETTINGS) for _ in range(2))
    other = estimate_ratio(bits, sizes, ["code"] * 60, **(SETTINGS | {"seed": 8}))
    assert first == again
    assert first.low != other.low


def test_resampling_within_domains_leaves_the_difference_between_them_out():
    (code, code_sizes), (prose, prose_sizes) = documents(100, mean=1.0), documents(100, seed=1, mean=4.0)
    bits, sizes = np.concatenate([code, prose]), np.concatenate([code_sizes, prose_sizes])
    stratified = estimate_ratio(bits, sizes, ["code"] * 100 + ["prose"] * 100, **SETTINGS)
    pooled = estimate_ratio(bits, sizes, ["all"] * 200, **SETTINGS)
    assert stratified.value == pooled.value
    assert stratified.standard_error < 0.75 * pooled.standard_error


@pytest.mark.parametrize("count", range(1, FEWEST_DOCUMENTS))
def test_too_few_documents_have_no_interval(count):
    bits, sizes = documents(count)
    estimate = estimate_ratio(bits, sizes, ["code"] * count, **SETTINGS)
    assert (estimate.low, estimate.high, estimate.standard_error) == (None, None, None)


def test_one_huge_document_is_not_made_up_for_by_many_small_ones():
    sizes = np.array([1e6] + [100.0] * 200)
    assert estimate_ratio(sizes * 2, sizes, ["code"] * 201, **SETTINGS).low is None


@pytest.mark.parametrize(("heavy", "domains"), [(5, 6), (6, 6), (8, 8)])
def test_as_many_domains_as_effective_documents_leave_no_interval(heavy, domains):
    sizes = np.array([1e4] * heavy + [1.0] * (5 * domains - heavy))
    bits = sizes * np.random.default_rng(0).normal(2, 0.3, len(sizes))
    strata = [f"domain {place % domains}" for place in range(len(sizes))]
    estimate = estimate_ratio(bits, sizes, strata, **SETTINGS)
    assert FEWEST_DOCUMENTS <= estimate.effective <= domains + 0.1
    assert (estimate.low, estimate.high, estimate.standard_error) == (None, None, None)
    assert estimate.unknown_because == (
        f"by weight they are {estimate.effective:.1f} equal ones in {domains} domains,"
        " and an interval needs at least one more than there are domains"
    )


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=30), st.integers(1, 8), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_what_is_not_known_is_missing_and_never_infinite(sizes, domains, seed):
    values = np.array(sizes) * np.random.default_rng(seed).normal(2, 0.3, len(sizes))
    strata = [f"domain {place % domains}" for place in range(len(sizes))]
    estimate = estimate_ratio(values, np.array(sizes), strata, confidence=0.95, resamples=50, seed=1)
    figures = (estimate.low, estimate.high, estimate.standard_error)
    assert all(figure is None for figure in figures) or all(map(math.isfinite, figures))
    assert (estimate.unknown_because is None) == (estimate.low is not None)


def test_the_quantiles_are_students_for_few_documents_and_the_normals_for_many():
    ten = stats.norm.cdf(math.sqrt(10 / 9) * stats.t(9).ppf(0.025))
    assert expanded_level(0.95, 10) == pytest.approx(ten)
    assert expanded_level(0.95, 1e9) == pytest.approx(0.025, rel=1e-6)


def test_resampled_sums_have_the_mean_and_variance_of_the_multinomial():
    values = np.random.default_rng(5).normal(3, 2, (80, 1))
    sums = resampled_sums(values, 20_000, np.random.default_rng(6))
    assert sums.mean() == pytest.approx(values.sum(), rel=0.005)
    assert sums.var() == pytest.approx(80 * values.var(), rel=0.05)


def test_the_detectable_effect_is_that_of_a_power_calculation():
    effect = detectable_effect(0.01, 0.95)
    assert stats.norm.sf(stats.norm.isf(0.025) - effect / 0.01) == pytest.approx(0.8, abs=1e-6)
    assert detectable_effect(None, 0.95) is None


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=12))
def test_no_stratum_stands_alone_and_no_document_is_lost(strata):
    groups = collapsed_strata(strata)
    assert sorted(position for members in groups.values() for position in members) == list(range(len(strata)))
    assert min(map(len, groups.values())) >= 2


def test_domains_that_are_large_enough_are_strata_of_their_own():
    assert collapsed_strata(["a", "b", "a", "b", "c"]) == {"b": [1, 3], "a+c": [0, 2, 4]}
