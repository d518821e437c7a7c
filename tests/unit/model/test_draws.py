"""Weights follow from seed and name, whoever draws which part of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm.model import draws
from llm.model.draws import draw_normal


def drawn(rows: int, columns: int, seed: int = 0, name: str = "a.weight", first_row: int = 0) -> torch.Tensor:
    made = torch.full((rows, columns), torch.nan)
    draw_normal(made, 1.0, seed, name, first_row)
    return made


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), cut=st.integers(0, 40))
def test_parts_are_those_of_the_whole(rows: int, columns: int, cut: int):
    cut = min(cut, rows - 1)
    assert torch.equal(drawn(rows - cut, columns, first_row=cut), drawn(rows, columns)[cut:])


def test_drawing_in_several_goes_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    whole = drawn(50, 9)
    monkeypatch.setattr(draws, "AT_ONCE", 24)
    assert torch.equal(drawn(50, 9), whole)


def test_they_are_normal():
    chances = [stats.kstest(drawn(200, 250, seed).flatten().numpy(), "norm").pvalue for seed in range(40)]
    assert stats.kstest(chances, "uniform").pvalue > 0.001


def test_seeds_names_and_rows_are_independent():
    base = drawn(300, 300).flatten().numpy()
    for other in (drawn(300, 300, seed=1), drawn(300, 300, name="b.weight"), drawn(300, 300, first_row=1)):
        assert abs(np.corrcoef(base, other.flatten().numpy())[0, 1]) < 0.015


def test_a_deviation_scales_them():
    small = torch.empty(4, 4)
    draw_normal(small, 0.5, 0, "a.weight")
    assert torch.equal(small, drawn(4, 4) * 0.5)


def test_the_numbers_are_the_same_for_ever():
    assert drawn(1, 4).flatten().tolist() == pytest.approx([1.12520623, -1.69794214, -0.26904383, 0.18640798], abs=1e-6)
