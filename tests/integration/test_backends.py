"""Every backend reads the checkpoints of every other, on any number of ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases.backends import BACKENDS, begin, exchange, readers, save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of each backend on two ranks."""
    folder = tmp_path_factory.mktemp("backends")
    save(folder, ranks=2)
    return folder


def test_all_backends_have_the_losses_of_ddp(saved: Path):
    losses = [json.loads((saved / f"{number}.json").read_text()) for number in range(len(BACKENDS))]
    assert len(losses[0]) == 3
    for backend, own in zip(BACKENDS, losses, strict=True):
        assert own == pytest.approx(losses[0], rel=1e-6), backend


def test_all_backends_begin_from_the_weights_of_a_checkpoint(tmp_path: Path):
    found = begin(tmp_path, ranks=3)
    assert found == {str(backend): [] for backend in BACKENDS}


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_one_saved_another_reads_and_saves_again_bit_for_bit(saved: Path, ranks: int):
    found = exchange(saved, ranks)
    numbers = range(len(BACKENDS))
    assert len(found) == sum(len(readers(number, numbers)) for number in numbers) > len(BACKENDS) ** 2 / 2
    for pair, one in found.items():
        assert one["differing"] == [], pair
        assert one["losses"] == pytest.approx(one["expected"], rel=1e-6), pair
    if ranks == 2:  # as those that saved
        for backend in map(str, BACKENDS):
            own = found[f"{backend} read by {backend}"]
            assert own["losses"] == own["expected"], backend
