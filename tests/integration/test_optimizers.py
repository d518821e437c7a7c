"""Optimizers and their groups on the ranks of every backend that takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases.backends import BACKENDS, Others, exchange, save, weights

WHOLE = tuple(n for n, backend in enumerate(BACKENDS) if backend.get("zero_stage", 0) == 0)
"""Backends that give an optimizer parameters in their shapes."""
GROUPS = {"layer_decay": 0.8, "groups": [{"match": "norm", "lr_factor": 0.5, "weight_decay": 0.3}]}


def losses(folder: Path, number: int) -> list[float]:
    found: list[float] = json.loads((folder / f"{number}.json").read_text())
    return found


def test_groups_are_the_same_on_all_backends_and_over_a_resume(tmp_path: Path):
    others = Others({"optimizer": {"name": "adamw", "lr": 1e-2, **GROUPS}})
    save(tmp_path, 2, others)
    for number, backend in enumerate(BACKENDS):
        assert losses(tmp_path, number) == pytest.approx(losses(tmp_path, 0), rel=1e-6), backend
    for pair, one in exchange(tmp_path, 2, others).items():
        assert one["differing"] == [], pair
        assert one["losses"] == pytest.approx(one["expected"], rel=1e-6), pair


@pytest.mark.parametrize("optimizer", [{"name": "muon"}, {"name": "muon", **GROUPS}], ids=["plain", "groups"])
def test_muon_has_the_same_weights_on_one_rank_and_on_two(tmp_path: Path, optimizer: dict[str, Any]):
    others = Others({"optimizer": {"lr": 1e-2, **optimizer}}, WHOLE, saved_at=9)
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        save(tmp_path / str(ranks), ranks, others)
    expected = weights(tmp_path / "1", 0, others)
    for ranks in (1, 2):
        for number in WHOLE:
            for name, tensor in weights(tmp_path / str(ranks), number, others).items():
                apart = (tensor - expected[name]).abs().max().item()
                assert apart < 1e-5, f"{name} on {ranks} ranks of {BACKENDS[number]}"


@pytest.mark.parametrize("optimizer", [{"name": "muon"}, {"name": "adamw8bit", "smallest_matrix": 1}], ids=str)
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_checkpoint_is_read_by_every_backend_bit_for_bit(tmp_path: Path, optimizer: dict[str, Any], ranks: int):
    others = Others({"optimizer": {"lr": 1e-2, **optimizer}}, WHOLE)
    save(tmp_path, 2, others)
    for pair, one in exchange(tmp_path, ranks, others).items():
        assert one["differing"] == [], pair
        assert one["losses"] == pytest.approx(one["expected"], rel=1e-6), pair
