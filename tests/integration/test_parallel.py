"""Every parallel form is the training of one rank: its losses, its weights, its states, and its checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.model.foreign import INDEX
from llm.training.checkpoint.find import checkpoint_name
from llm.training.checkpoint.pieces import Saved
from tests.cases.parallel import ALONE, FORMS, STEPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the forms are trained."""
    return tmp_path_factory.mktemp("parallel")


def trained(folder: Path, name: str) -> dict[str, Any]:
    """The form, trained once: all with as many ranks in the same processes."""
    found = folder / f"{name}.json"
    if not found.exists():
        ranks = FORMS[name][0]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1",
                   f"--nproc-per-node={ranks}", "-m", "tests.cases.parallel", str(folder), str(ranks)]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
        assert done.returncode == 0, done.stderr[-4000:]
    document: dict[str, Any] = json.loads(found.read_text())
    return document


def test_one_rank_learns(folder: Path):
    losses = trained(folder, ALONE)["losses"]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("name", [name for name in FORMS if name != ALONE])
def test_it_is_the_training_of_one_rank(folder: Path, name: str):
    expected, found = trained(folder, ALONE), trained(folder, name)
    assert found["tokens"] == expected["tokens"]
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-6)
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-5)
    assert found["validation"] == pytest.approx(expected["validation"], rel=1e-6)
    for what, largest in differences(folder / ALONE, folder / name).items():
        assert largest < 1e-4, what


def test_between_steps_a_rank_of_zero_3_holds_vectors_alone(folder: Path):
    whole = trained(folder, "ZeRO-3 2")["whole"]
    assert whole
    assert all("norm" in name for name in whole)


def differences(one: Path, other: Path) -> dict[str, float]:
    """Of each weight and state, the largest difference as a share of the largest value."""
    found = {}
    places = [path / checkpoint_name(STEPS) for path in (one, other)]
    documents = [(place / "states.json").read_bytes() for place in places]
    names = json.loads(documents[0])["states"].keys()
    assert names == json.loads(documents[1])["states"].keys()
    shards = [json.loads((place / INDEX).read_text())["weight_map"] for place in places]
    assert len(set(shards[0].values())) > 8
    with (
        closing(Saved(documents[0], places[0].joinpath, shards[0])) as a,
        closing(Saved(documents[1], places[1].joinpath, shards[1])) as b,
    ):
        for name in names:
            kind, parameter = name.split("/", 1)
            found[name] = _difference(a.state(kind, parameter), b.state(kind, parameter))
            found[parameter] = _difference(a.weight(parameter), b.weight(parameter))
    return found


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))
