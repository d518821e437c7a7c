"""A run whose MLflow server is not there, and one that comes late."""

from __future__ import annotations

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

from tests.cases.pretrain import PATIENCE_SECONDS, STEPS_OF_TRAINING, Place


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
    alone = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # three processes more, for jobs of its UI
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(script, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=alone)
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
