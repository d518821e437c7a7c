"""The whole path through KFP's local runner: text to a champion, again, worse, killed, and without MLflow."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

from llm.runs.event_kinds import StepFinished, StepStarted, TrainStep
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.storage import Manifest

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
    "training.batch.sequence_length=64",
    "training.batch.tokens=1024",
    "training.batch.micro_batch_size=8",
    f"training.length.steps={STEPS_OF_TRAINING}",
    "training.checkpoints.every_steps=3",
    "evaluation.max_bytes_per_domain=20000",
    "evaluation.max_bytes_per_document=2000",
    "evaluation.prompts=[def]",
    "gate.metrics.bits_per_byte.floor=9",
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
    return folder.manifest(step)


def steps_trained(folder: Path) -> list[int]:
    """Steps that the only run in a folder has logged so far."""
    return [event.step for path in folder.glob("runs/*/events.jsonl") for event in EventLog(path).of_kind(TrainStep)]


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
    again = EventLog(folder.events).of_kind(StepFinished)[-11:]
    reused = {event.step for event in again if event.reused}
    assert {"ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "export", "deploy"} <= reused
    judgement = json.loads(manifest(folder, "gate").file("gate.json").read_text())
    assert judgement["verdict"] == "PASS"
    assert "already is the champion" in judgement["reasons"][0]


def test_a_worse_model_is_registered_but_not_promoted_and_the_run_ends_with_4(first, place: Path):
    ended, folder = run(place, "training.length.steps=1")
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
    step = EventLog(folder.events).of_kind(StepStarted)[-1]
    assert step.step == "train"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{step.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{step.pid}").exists()
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
    last = EventLog(folder / "events.jsonl").of_kind(TrainStep)[-1].step
    assert process.returncode == (75 if last < STEPS_OF_TRAINING else 0), errors
    assert (folder / "report.html").is_file()


def test_two_runs_in_one_folder_at_a_time_are_refused(first, place: Path):
    _, folder = first
    from llm.storage import only_process_in

    with only_process_in(folder.path):
        ended, _ = run(place)
    assert ended.returncode == 2
    assert f"error: another run works in {folder.path} (process {os.getpid()})" in ended.stderr


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory, port: int) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run whose MLflow server is not there, and its place."""
    place = tmp_path_factory.mktemp("absent")
    ended, _ = run(place, f"tracking.uri=http://127.0.0.1:{port}", "tracking.timeout_seconds=10")
    return place, ended


def test_without_mlflow_the_training_is_done_and_the_reason_is_told(absent):
    place, ended = absent
    assert ended.returncode == 2
    assert "MLflow at http://127.0.0.1:" in ended.stderr
    assert "Connection refused" in ended.stderr
    assert "Traceback" not in ended.stderr
    (folder,) = map(RunFolder, place.glob("runs/pretrain-*"))
    assert manifest(folder, "evaluate").counts["bits_per_byte"] > 0
    assert folder.report.is_file()


@pytest.fixture
def mlflow_server(tmp_path: Path, port: int) -> Iterator[str]:
    """A real MLflow server on that port."""
    uri = f"http://127.0.0.1:{port}"
    stores = [f"--backend-store-uri=sqlite:///{tmp_path}/mlflow.db", f"--artifacts-destination={tmp_path}/artifacts"]
    script = [sys.executable, "-m", "mlflow", "server", f"--port={port}", "--workers=1", *stores]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(script, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _answers(f"{uri}/health"):
            assert server.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_an_mlflow_server_that_comes_late_gets_all_that_it_missed(absent, mlflow_server: str):
    place, _ = absent
    ended, folder = run(place, f"tracking.uri={mlflow_server}", "tracking.timeout_seconds=10")
    assert ended.returncode == 0, ended.stderr
    assert "train      reused" in ended.stderr  # its metrics are the earlier attempt's
    client = MlflowClient(mlflow_server)
    version = client.get_model_version_by_alias("gristmill", "champion")
    assert int(version.version) == manifest(folder, "register").counts["version"]
    losses = client.get_metric_history(version.run_id, "train/loss")
    assert [point.step for point in losses] == list(range(1, STEPS_OF_TRAINING + 1))
    assert client.get_run(version.run_id).info.status == "FINISHED"
    assert "report.html" in [file.path for file in client.list_artifacts(version.run_id)]
