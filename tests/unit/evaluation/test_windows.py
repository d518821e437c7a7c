from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.bits_per_byte.windows import Window, windows

positions_and_window = st.tuples(st.integers(0, 700), st.integers(1, 130))


@given(positions_and_window)
def test_each_token_is_scored_exactly_once_and_in_order(case):
    positions, window_tokens = case
    scored = [p for window in windows(positions, window_tokens) for p in range(window.scored_from, window.end)]
    assert scored == list(range(positions))


@given(positions_and_window)
def test_no_window_is_longer_than_the_context_or_leaves_the_document(case):
    positions, window_tokens = case
    for window in windows(positions, window_tokens):
        assert 0 <= window.start <= window.scored_from < window.end <= positions
        assert len(window) <= window_tokens


@given(positions_and_window)
def test_a_scored_token_sees_half_a_window_of_history_or_all_there_is(case):
    positions, window_tokens = case
    for window in windows(positions, window_tokens):
        assert window.scored_from - window.start >= min(window.scored_from, window_tokens // 2)


def test_a_short_document_is_one_window():
    assert windows(7, 16) == [Window(start=0, scored_from=0, end=7)]


def test_the_last_window_ends_with_the_document_and_is_full():
    assert windows(21, 8)[-1] == Window(start=13, scored_from=20, end=21)


def test_a_document_without_tokens_has_no_window():
    assert windows(0, 8) == []


def test_a_window_needs_at_least_one_token():
    with pytest.raises(ValueError, match="a window of 0 tokens"):
        windows(5, 0)
