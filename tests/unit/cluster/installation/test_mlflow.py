"""`helm test` asks whether MLflow answers, here a server that speaks as MLflow does."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

MODULE = "llm.cluster.installation.mlflow"
PROJECT = Path(__file__).parents[4]
LOGIN = "Basic " + base64.b64encode(b"ann:secret").decode()


class Tracking(BaseHTTPRequestHandler):
    """The one address that is asked, behind a login."""

    def do_GET(self) -> None:
        wrong_login = self.headers.get("Authorization") != LOGIN
        known = self.path.startswith("/base/api/2.0/mlflow/experiments/search")
        self.send_response(404 if not known else 401 if wrong_login else 200)
        self.end_headers()
        self.wfile.write(b'{"experiments": []}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Tracking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def check(uri: str, command: Sequence[str] = ("-m", MODULE), **login: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "MLFLOW_TRACKING_URI": uri, "no_proxy": "*", **login}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60, cwd=PROJECT
    )


def test_a_server_that_answers_and_takes_the_login_passes(port):
    done = check(f"http://127.0.0.1:{port}/base/", MLFLOW_TRACKING_USERNAME="ann", MLFLOW_TRACKING_PASSWORD="secret")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"MLflow at http://127.0.0.1:{port}/base answers" in done.stdout


def test_a_wrong_login_is_named(port):
    done = check(f"http://127.0.0.1:{port}/base", MLFLOW_TRACKING_USERNAME="ann", MLFLOW_TRACKING_PASSWORD="guess")
    assert done.returncode == 1
    assert "answered 401" in done.stderr
    assert "mlflow.existingSecret" in done.stderr


def test_an_address_without_mlflow_is_named(port):
    done = check(f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert "There is no MLflow API at this address: see mlflow.uri." in done.stderr


def test_a_server_that_is_down_is_named(port):
    impatient = f"from llm.process import reach; reach.PATIENCE_SECONDS = 0; from {MODULE} import main; main()"
    done = check("http://127.0.0.1:9", command=["-c", impatient])
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
