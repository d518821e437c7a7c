"""States in pieces: whatever runs were written, any run can be read."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.errors import DamagedError
from llm.training.checkpoint.pieces import Index, Piece, Saved, joined, run_of, whole, write_pieces

NAME, KIND, PARAMETER = "exp_avg/model.norm.weight", "exp_avg", "model.norm.weight"
VALUES = torch.arange(24.0).view(6, 4)


def written(folder: Path, cuts: list[int]) -> Index:
    """VALUES in runs between the cuts, each by a rank of its own."""
    flat, ends = VALUES.flatten(), [0, *cuts, VALUES.numel()]
    return joined(
        write_pieces({NAME: Piece(flat[begin:end], begin, (6, 4))}, folder / f"states-{rank}.safetensors")
        for rank, (begin, end) in enumerate(pairwise(ends))
        if begin < end
    )


def saved(folder: Path, index: Index) -> closing[Saved]:
    return closing(Saved(json.dumps({"groups": [], "states": index}).encode(), folder.joinpath))


@given(st.lists(st.integers(0, 24), max_size=5), st.integers(0, 24), st.integers(0, 24))
@settings(max_examples=60, deadline=None)
def test_any_run_is_read_from_any_pieces(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], a: int, b: int):
    folder = tmp_path_factory.mktemp("pieces")
    first, end = min(a, b), max(a, b)
    with saved(folder, written(folder, sorted(cuts))) as states:
        assert states.run(KIND, PARAMETER, first, end - first).tolist() == list(range(first, end))
        assert torch.equal(states.state(KIND, PARAMETER), VALUES)
        assert states.kinds(PARAMETER) == {KIND: (6, 4)}


def test_a_state_that_is_one_number_keeps_its_shape(tmp_path: Path):
    index = write_pieces({"step/a.b": whole(torch.tensor(7.0))}, tmp_path / "states-0.safetensors")
    with saved(tmp_path, index) as states:
        assert states.state("step", "a.b").shape == ()
        assert float(states.state("step", "a.b")) == 7.0


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_piece_that_is_missing_is_told_with_its_place(tmp_path: Path, lost: int):
    index = written(tmp_path, [8, 16])
    del index[NAME]["runs"][lost]
    with saved(tmp_path, index) as states, pytest.raises(DamagedError, match=rf"from number {8 * lost} of 24"):
        states.state(KIND, PARAMETER)


def test_no_values_ask_for_no_rows():
    def rows(first: int, end: int) -> torch.Tensor:
        return pytest.fail(f"rows {first} to {end}")

    assert run_of(rows, (6, 4), 24, 0).numel() == 0
