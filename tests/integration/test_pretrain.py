"""The whole path through KFP's local runner: text to a champion, again, worse, killed, and without MLflow."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

from llm.runs.event_kinds import StepFinished, StepStarted
from llm.runs.events import EventLog
from tests.cases.pretrain import PATIENCE_SECONDS, STEPS_OF_TRAINING, Place


def test_text_becomes_a_champion_with_a_repository_and_a_report(first):
    ended, folder = first
    assert ended.returncode == 0, ended.stderr
    assert folder.manifest("gate").counts["verdict"] == "PASS"
    assert folder.manifest("promote").uri.endswith("@champion")
    assert (folder.manifest("deploy").verify() / "gristmill" / "config.pbtxt").is_file()
    assert "</html>" in folder.report.read_text()
    assert "held-out bits per byte" in ended.stdout


def test_every_product_is_what_its_manifest_says(first):
    _, folder = first
    for name, product in folder.manifests().items():
        if product.files:
            assert product.verify().is_dir(), name


def test_the_same_command_again_does_no_work_again(first, place: Place):
    ended, folder = place.run()
    assert ended.returncode == 0, ended.stderr
    again = EventLog(folder.events).of_kind(StepFinished)[-11:]
    reused = {event.step for event in again if event.reused}
    assert {"ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "export", "deploy"} <= reused
    judgement = json.loads(folder.manifest("gate").file("gate.json").read_text())
    assert judgement["verdict"] == "PASS"
    assert "already is the champion" in judgement["reasons"][0]


def test_a_worse_model_is_registered_but_not_promoted_and_the_run_ends_with_4(first, place: Place):
    ended, folder = place.run("training.length.steps=1")
    assert ended.returncode == 4, ended.stderr
    assert "not promoted" in ended.stderr
    verdict = json.loads(folder.manifest("gate").file("gate.json").read_text())
    assert verdict["verdict"] in ("FAIL", "INCONCLUSIVE")
    assert verdict["champion"] == str(first[1].manifest("register").counts["version"])
    assert folder.manifest("register").counts["version"] > first[1].manifest("register").counts["version"]
    assert not folder.manifest_path("promote").exists()


def test_a_killed_pipeline_leaves_nobody_behind_and_ends_with_the_same_weights(
    tmp_path: Path, texts: Path, ids_of_first: dict[str, str]
):
    place = Place(tmp_path, texts)
    process = subprocess.Popen(place.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    steps = place.wait_for_a_step(process)
    process.kill()
    process.communicate()
    assert steps[-1] < STEPS_OF_TRAINING
    step = EventLog(place.only_run.events).of_kind(StepStarted)[-1]
    assert step.step == "train"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{step.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{step.pid}").exists()
    ended, folder = place.run()
    assert ended.returncode == 0, ended.stderr
    assert folder.manifest("train").id == ids_of_first["train"]


def test_a_stopped_run_ends_with_75_and_has_its_report(tmp_path: Path, texts: Path):
    place = Place(tmp_path, texts)
    process = subprocess.Popen(place.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    place.wait_for_a_step(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == (75 if place.steps_trained()[-1] < STEPS_OF_TRAINING else 0), errors
    assert place.only_run.report.is_file()


def test_two_runs_in_one_folder_at_a_time_are_refused(first, place: Place):
    _, folder = first
    from llm.storage import only_process_in

    with only_process_in(folder.path):
        ended, _ = place.run()
    assert ended.returncode == 2
    assert f"error: another run works in {folder.path} (process {os.getpid()})" in ended.stderr


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def absent(
    tmp_path_factory: pytest.TempPathFactory, texts: Path, port: int
) -> tuple[Place, subprocess.CompletedProcess[str]]:
    """A run whose MLflow server is not there, and its place."""
    place = Place(tmp_path_factory.mktemp("absent"), texts)
    ended, _ = place.run(f"tracking.uri=http://127.0.0.1:{port}", "tracking.timeout_seconds=10")
    return place, ended


def test_without_mlflow_the_training_is_done_and_the_reason_is_told(absent):
    place, ended = absent
    assert ended.returncode == 2
    assert "MLflow at http://127.0.0.1:" in ended.stderr
    assert "Connection refused" in ended.stderr
    assert "Traceback" not in ended.stderr
    folder = place.only_run
    assert folder.manifest("evaluate").counts["bits_per_byte"] > 0
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
    ended, folder = place.run(f"tracking.uri={mlflow_server}", "tracking.timeout_seconds=10")
    assert ended.returncode == 0, ended.stderr
    assert "train      reused" in ended.stderr  # its metrics are the earlier attempt's
    client = MlflowClient(mlflow_server)
    version = client.get_model_version_by_alias("gristmill", "champion")
    assert int(version.version) == folder.manifest("register").counts["version"]
    losses = client.get_metric_history(version.run_id, "train/loss")
    assert [point.step for point in losses] == list(range(1, STEPS_OF_TRAINING + 1))
    assert client.get_run(version.run_id).info.status == "FINISHED"
    assert "report.html" in [file.path for file in client.list_artifacts(version.run_id)]
