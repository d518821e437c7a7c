"""The order of the windows is a permutation that looks random, and needs no memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm.data.shards.permutation import Permutation

MANY = 488_000_000
"""Windows of 2,048 in a trillion tokens."""


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**80), stream=st.integers(0, 2**40))
def test_every_item_has_one_place(size: int, seed: int, stream: int):
    assert sorted(Permutation(size, seed, stream)[np.arange(size)]) == list(range(size))


@given(
    size=st.integers(1, 2**62), places=st.lists(st.integers(0, 2**62), min_size=1, max_size=8), seed=st.integers(0, 9)
)
def test_a_place_is_computed_by_itself(size: int, places: list[int], seed: int):
    wanted = np.array(places, dtype=np.int64) % size
    items = Permutation(size, seed, 0)[wanted]
    assert all(0 <= item < size for item in items)
    assert list(items) == [int(Permutation(size, seed, 0)[wanted[at : at + 1]][0]) for at in range(len(wanted))]


def test_a_trillion_tokens_need_no_memory():
    tracemalloc.start()
    Permutation(MANY, 0, 0)[np.arange(1024)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_neighbours_and_places_tell_nothing_of_an_item():
    size, seeds = 20_011, 100
    drift = [np.corrcoef(np.arange(size), Permutation(size, seed, 0)[np.arange(size)])[0, 1] for seed in range(seeds)]
    assert abs(np.mean(drift)) < 4 / np.sqrt(size * seeds)
    assert np.std(drift) == pytest.approx(1 / np.sqrt(size), rel=0.3)
    gaps = [np.diff(Permutation(size, seed, 0)[np.arange(size)]) % size for seed in range(seeds)]
    chances = [stats.chisquare(np.histogram(one, bins=50, range=(0, size))[0]).pvalue for one in gaps]
    assert stats.kstest(chances, "uniform").pvalue > 0.001


def test_small_seeds_and_streams_give_orders_that_do_not_agree():
    size = 1000
    orders = [Permutation(size, seed, stream)[np.arange(size)] for seed in range(5) for stream in range(5)]
    agreements = [(one == other).sum() for at, one in enumerate(orders) for other in orders[:at]]
    assert np.mean(agreements) == pytest.approx(1, abs=0.25)
    assert max(agreements) < 10


def test_the_order_is_the_same_for_ever():
    assert Permutation(48, 1234, 0)[np.arange(8)].tolist() == [40, 39, 0, 1, 24, 38, 36, 17]
