"""A tiny model and its tokenizer, as `transformers` saves them, are adopted, and a training goes on from them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llm.model.weights import load
from llm.runs.event_kinds import StartsFrom, TrainStep
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.storage import Manifest
from tests.cases.foreign import TEXTS, llama, tokenizer

BATCH = ("training.batch.tokens=256", "training.batch.sequence_length=32", "training.batch.micro_batch_size=2",
         "training.length.steps=2", "training.parallel.backend.name=torch")  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a model, and texts to go on with."""
    folder = tmp_path / "tiny"
    llama(folder, tokenizer(folder, 280) + 3)
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(60):
        (texts / f"{number}.txt").write_text(f"{number}: {TEXTS[number % 2]} " * 8)
    return tmp_path


def gristmill(place: Path, *arguments: str, code: int = 0) -> str:
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=200)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_a_training_goes_on_from_an_adopted_model(place: Path):
    printed = gristmill(place, "adopt", "checkpoint", "tiny").splitlines()
    assert "name: checkpoint/tiny@1" in printed
    settings = [line.strip() for line in printed[printed.index("settings of a run with it:") + 1 :]]
    settings += ["data.path=texts", *BATCH]
    for step in ("ingest", "tokenizer", "tokenize", "train"):
        gristmill(place, step, "--run", "on", *settings)
    run = RunFolder(place / "runs" / "on")
    made = run.manifest("train")
    log = EventLog(run.events)
    assert [event.step for event in log.of_kind(TrainStep)] == [1, 2]
    (start,) = (parent for parent in made.parents if parent.kind == "checkpoint")
    (event,) = log.of_kind(StartsFrom)
    (adopted,) = (one for one in Manifest.read_uri(start.uri).parents if one.kind == "checkpoint")
    assert event.checkpoint == adopted.id
    before, after = load(place / "tiny").state_dict(), load(made.verify()).state_dict()
    for name, weight in after.items():
        moved = (weight - before[name][: len(weight)]).abs().max()
        assert 0 < moved < 0.05, "two steps from there, and not from random weights"
    assert len(torch.cat([weight.flatten() for weight in after.values()])) > 10_000

    again = gristmill(place, "adopt", "checkpoint", str(place / "tiny"), "--name", "other").splitlines()
    assert again[:2] == printed[:2], "one product"
    refused = gristmill(place, "train", "--run", "on", *settings, "model.rope_theta=5e5", code=2)
    assert refused.startswith("error: training.start_from=checkpoint/")
    assert "model.rope_theta is 10000.0 there, and 500000.0 in the configuration" in refused


def test_what_cannot_be_adopted_ends_with_2_and_leaves_no_store(place: Path):
    (place / "tiny" / "model.safetensors.index.json").unlink()
    refused = gristmill(place, "adopt", "checkpoint", "tiny", code=2)
    assert refused.startswith("error: there are no weights in")
    assert "Traceback" not in refused
    assert gristmill(place, "adopt", "tokenizer", "texts", code=2).startswith("error: there is no tokenizer.json in")
    assert not (place / "store").exists()
