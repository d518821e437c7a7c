"""Of two that were created at the same moment, never do both go on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.cluster.first_wins import earlier


@dataclass(frozen=True)
class One:
    id: str
    created: int | None


@pytest.mark.parametrize(
    ("ours", "other", "gives_way"),
    [(1, 2, False), (2, 1, True), (1, 1, True), (None, 1, True), (1, None, True)],
    ids=["first", "second", "in one second", "ours unknown", "the other's unknown"],
)
def test_ours_gives_way_unless_it_is_surely_the_first(ours: int | None, other: int | None, gives_way: bool):
    found = earlier(One("a", ours), [One("a", ours), One("b", other)])
    assert (found is not None) == gives_way


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_at_most_one_goes_on(times: list[int]):
    claims = [One(str(number), time) for number, time in enumerate(times)]
    assert sum(earlier(claim, claims) is None for claim in claims) <= 1
