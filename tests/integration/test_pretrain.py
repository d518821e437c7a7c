"""The whole path through KFP's local runner: text to a champion, again, worse, killed, and without MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from llm.runs.folder import RunFolder
from llm.storage import Manifest
from llm.tracking.events import EventLog

STEPS_OF_TRAINING = 12
SMALL = [
    f"data.path={sysconfig.get_path('stdlib')}/[a-e]*.py",
    "data.domain=code",
    "tokenizer.vocab_size=512",
    "model.hidden_size=64",
    "model.intermediate_size=128",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.max_position_embeddings=128",
    "training.sequence_length=64",
    "training.global_batch_tokens=1024",
    "training.micro_batch_size=8",
    f"training.max_steps={STEPS_OF_TRAINING}",
    "training.checkpoint_every_steps=3",
    "evaluation.max_bytes_per_domain=20000",
    "evaluation.max_bytes_per_document=2000",
    "evaluation.sample_tokens=8",
    "gate.max_bits_per_byte=9",
    "export.onnx=[fp32]",
]
PATIENCE_SECONDS = 300


def command(folder: Path, *overrides: str) -> list[str]:
    places = [f"storage.uri={folder / 'store'}", f"run.folder={folder / 'runs'}"]
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    return [sys.executable, "-c", script, "run", "pretrain", *SMALL, *places, *overrides]


def run(folder: Path, *overrides: str) -> tuple[subprocess.CompletedProcess[str], RunFolder]:
    ended = subprocess.run(command(folder, *overrides), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    newest = max((folder / "runs").glob("*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    return ended, RunFolder(newest.parent)


def manifest(folder: RunFolder, step: str) -> Manifest:
    return Manifest.read(folder.manifest_path(step))


def steps_trained(folder: Path) -> list[int]:
    """Steps that the only run in a folder has logged so far."""
    return [event["step"] for path in folder.glob("runs/*/events.jsonl") for event in EventLog(path).read("train_step")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def first(place: Path) -> tuple[subprocess.CompletedProcess[str], RunFolder]:
    return run(place)


def test_text_becomes_a_champion_with_a_repository_and_a_report(first):
    ended, folder = first
    assert ended.returncode == 0, ended.stderr
    assert manifest(folder, "gate").counts["verdict"] == "PASS"
    assert manifest(folder, "promote").uri.endswith("@champion")
    assert (manifest(folder, "deploy").verify() / "gristmill" / "config.pbtxt").is_file()
    assert "</html>" in folder.report.read_text()
    assert "held-out bits per byte" in ended.stdout


def test_every_product_is_what_its_manifest_says(first):
    _, folder = first
    for name, product in folder.manifests().items():
        if product.files:
            assert product.verify().is_dir(), name


def test_the_same_command_again_does_no_work_again(first, place: Path):
    ended, folder = run(place)
    assert ended.returncode == 0, ended.stderr
    again = EventLog(folder.events).read("step_finished")[-11:]
    reused = {event["step"] for event in again if event["reused"]}
    assert {"ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "export", "deploy"} <= reused
    judgement = json.loads(manifest(folder, "gate").file("gate.json").read_text())
    assert judgement["verdict"] == "PASS"
    assert "already is the champion" in judgement["reasons"][0]


def test_a_worse_model_is_registered_but_not_promoted_and_the_run_ends_with_4(first, place: Path):
    ended, folder = run(place, "training.max_steps=1")
    assert ended.returncode == 4, ended.stderr
    assert "not promoted" in ended.stderr
    verdict = json.loads(manifest(folder, "gate").file("gate.json").read_text())
    assert verdict["verdict"] in ("FAIL", "INCONCLUSIVE")
    assert verdict["champion"] == str(manifest(first[1], "register").counts["version"])
    assert manifest(folder, "register").counts["version"] > manifest(first[1], "register").counts["version"]
    assert not folder.manifest_path("promote").exists()


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, RunFolder]:
    """A run whose runner was killed with SIGKILL after some steps of training."""
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (steps := steps_trained(tmp_path)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert steps[-1] < STEPS_OF_TRAINING
    (folder,) = tmp_path.glob("runs/pretrain-*")
    return tmp_path, RunFolder(folder)


def test_a_killed_pipeline_leaves_nobody_behind_and_ends_with_the_same_weights(killed, first):
    place, folder = killed
    step = EventLog(folder.events).read("step_started")[-1]
    assert step["step"] == "train"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{step['pid']}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{step['pid']}").exists()
    ended, folder = run(place)
    assert ended.returncode == 0, ended.stderr
    assert manifest(folder, "train").id == manifest(first[1], "train").id


def test_a_stopped_run_ends_with_75_and_has_its_report(tmp_path: Path):
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not steps_trained(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    (folder,) = tmp_path.glob("runs/pretrain-*")
    last = EventLog(folder / "events.jsonl").read("train_step")[-1]["step"]
    assert process.returncode == (75 if last < STEPS_OF_TRAINING else 0), errors
    assert (folder / "report.html").is_file()


def test_two_runs_in_one_folder_at_a_time_are_refused(first, place: Path):
    _, folder = first
    from llm.storage import only_process_in

    with only_process_in(folder.path):
        ended, _ = run(place)
    assert ended.returncode == 2
    assert f"error: another run works in {folder.path} (process {os.getpid()})" in ended.stderr


def test_without_mlflow_the_training_is_done_and_the_reason_is_told(first, place: Path):
    ended, folder = run(place, "tracking.uri=http://127.0.0.1:9", "tracking.timeout_seconds=2", "run.name=alone")
    assert ended.returncode == 2
    assert "127.0.0.1:9" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert manifest(folder, "evaluate").counts["bits_per_byte"] > 0
    assert folder.report.is_file()
