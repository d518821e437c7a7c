"""Which tokens a step trains on follows from the step alone, however many ranks share it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm.data.shards.loader as loader_module
from llm.config.sections.training.steps import BatchConfig
from llm.data.shards.loader import Loader
from llm.errors import UserError

WINDOWS, LENGTH, BATCH = 48, 4, 8


@pytest.fixture(autouse=True, scope="module", params=[7, loader_module.BLOCK])
def _block(request: pytest.FixtureRequest) -> Iterator[None]:
    """Batches within one block, and over the edges of many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader_module, "BLOCK", request.param)
        yield


def loader(seed: int = 0) -> Loader:
    return Loader(np.arange(WINDOWS * LENGTH + 1, dtype=np.uint16), LENGTH, BATCH, seed)


@given(world=st.sampled_from([1, 2, 4, 8]), step=st.integers(0, 10_000), seed=st.integers(0, 2**31 - 1))
def test_the_global_batch_does_not_depend_on_the_number_of_ranks(world: int, step: int, seed: int):
    seen = [index for rank in range(world) for index in loader(seed).indices(step, rank, world)]
    assert seen == loader(seed).indices(step).tolist()


def order(seed: int, steps: int) -> list[int]:
    one = loader(seed)
    return [index for step in range(steps) for index in one.indices(step)]


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 3))
def test_every_window_is_seen_once_an_epoch(seed: int, epoch: int):
    seen = order(seed, 4 * WINDOWS // BATCH)
    assert sorted(seen[epoch * WINDOWS : (epoch + 1) * WINDOWS]) == list(range(WINDOWS))


@given(seed=st.integers(0, 2**31 - 2))
def test_epochs_and_seeds_differ_in_order_and_the_same_seed_repeats(seed: int):
    seen = order(seed, 2 * WINDOWS // BATCH)
    assert seen[:WINDOWS] != seen[WINDOWS:]
    assert seen[:WINDOWS] != order(seed + 1, 2 * WINDOWS // BATCH)[:WINDOWS]
    assert seen == order(seed, 2 * WINDOWS // BATCH)


def test_the_order_is_the_same_in_every_version_of_the_libraries():
    assert order(1234, 1) == [40, 39, 0, 1, 24, 38, 36, 17]


def test_a_loader_made_later_goes_on_with_the_same_batches():
    first = [loader().batch(step) for step in range(20)]
    fresh = loader()
    for step in (13, 7, 19):
        assert all(np.array_equal(a, b) for a, b in zip(first[step], fresh.batch(step), strict=True))


@given(world=st.sampled_from([1, 2, 4]), seed=st.integers(0, 2**31 - 1))
def test_in_a_ramp_every_window_is_seen_once_an_epoch_on_any_number_of_ranks(world: int, seed: int):
    batch = BatchConfig(tokens=8 * LENGTH, sequence_length=LENGTH, ramp=({"tokens": 4 * LENGTH, "steps": 3},))
    tokens = np.arange(WINDOWS * LENGTH + 1, dtype=np.uint16)
    one = Loader(tokens, LENGTH, 8, seed, lambda step: batch.tokens_before(step) // LENGTH)
    steps = [[int(i) for rank in range(world) for i in one.indices(step, rank, world)] for step in range(3 + 6)]
    assert [len(step) for step in steps] == [4, 4, 4, 8, 8, 8, 8, 8, 8]
    flat = [index for step in steps for index in step]
    assert sorted(flat[:WINDOWS]) == list(range(WINDOWS))
    assert flat[:WINDOWS] == order(seed, WINDOWS // BATCH), "the order is that without a ramp"


def test_targets_are_the_tokens_that_follow():
    inputs, targets = loader().batch(3, rank=1, world=2)
    assert inputs.shape == targets.shape == (BATCH // 2, LENGTH)
    assert inputs.dtype == np.int64
    assert np.array_equal(targets, inputs + 1)


@given(step=st.integers(0, 1_000), world=st.sampled_from([1, 2, 4, 8]))
def test_a_batch_is_the_windows_of_its_ranks(step: int, world: int):
    whole = loader().batch(step)
    parts = [loader().batch(step, rank, world) for rank in range(world)]
    for all_rows, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(all_rows, np.concatenate(shares))


def test_an_epoch_that_is_no_whole_number_of_batches_runs_on_into_the_next():
    one = Loader(np.arange(10 * LENGTH + 1, dtype=np.uint16), LENGTH, 4, 0)
    seen = [index for step in range(5) for index in one.indices(step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_ranks_that_do_not_divide_the_batch_are_a_fault():
    with pytest.raises(AssertionError):
        loader().indices(0, rank=0, world=3)


@pytest.mark.parametrize(
    ("tokens", "remedy"),
    [
        (32, r"lower training\.batch\.tokens to at most 28"),
        (4, r"lower training\.batch\.sequence_length"),
        (0, r"lower training\.batch\.sequence_length"),
    ],
)
def test_too_few_tokens_for_one_batch_are_refused(tokens: int, remedy: str):
    with pytest.raises(UserError, match=rf"train split has {tokens} tokens: less than one global batch") as told:
        Loader(np.zeros(tokens, dtype=np.uint16), LENGTH, BATCH, 0)
    assert told.match(remedy)


def test_exactly_one_batch_and_the_token_after_it_are_enough():
    inputs, targets = Loader(np.arange(33, dtype=np.uint16), LENGTH, BATCH, 0).batch(0)
    assert sorted(inputs.ravel()) == list(range(32))
    assert targets.max() == 32
