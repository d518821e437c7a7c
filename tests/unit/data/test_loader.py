"""Which tokens a step trains on follows from the step alone, however many ranks share it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.loader import Loader
from llm.errors import UserError

WINDOWS, LENGTH, BATCH = 50, 4, 8


def loader(seed: int = 0) -> Loader:
    return Loader(np.arange(WINDOWS * LENGTH + 1, dtype=np.uint16), LENGTH, BATCH, seed)


@given(world=st.sampled_from([1, 2, 4, 8]), step=st.integers(0, 10_000), seed=st.integers(0, 2**31 - 1))
def test_the_global_batch_does_not_depend_on_the_number_of_ranks(world: int, step: int, seed: int):
    seen = [index for rank in range(world) for index in loader(seed).indices(step, rank, world)]
    assert seen == loader(seed).indices(step)


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 3))
def test_every_window_is_seen_once_an_epoch(seed: int, epoch: int):
    steps = range(4 * WINDOWS)
    seen = [index for step in steps for index in loader(seed).indices(step)]
    assert sorted(seen[epoch * WINDOWS : (epoch + 1) * WINDOWS]) == list(range(WINDOWS))


def test_epochs_and_seeds_differ_in_order():
    orders = [
        [index for step in range(2 * WINDOWS) for index in loader(seed).indices(step)][start : start + WINDOWS]
        for seed, start in ((0, 0), (0, WINDOWS), (1, 0))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_a_loader_made_later_goes_on_with_the_same_batches():
    first = [loader().batch(step) for step in range(20)]
    fresh = loader()
    for step in (13, 7, 19):
        assert all(np.array_equal(a, b) for a, b in zip(first[step], fresh.batch(step), strict=True))


def test_targets_are_the_tokens_that_follow():
    inputs, targets = loader().batch(3, rank=1, world=2)
    assert inputs.shape == targets.shape == (BATCH // 2, LENGTH)
    assert inputs.dtype == np.int64
    assert np.array_equal(targets, inputs + 1)


def test_too_few_tokens_for_one_batch_are_refused():
    with pytest.raises(UserError, match=r"the train split has 20 tokens: less than one global batch of 32"):
        Loader(np.zeros(20, dtype=np.uint16), LENGTH, BATCH, 0)
