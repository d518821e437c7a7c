from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llm.config import RunConfig, to_yaml
from llm.runs import RunFolder
from llm.runs.event_kinds import RunStarted, TrainStep
from llm.runs.events import EventLog


@pytest.fixture
def run_folder(tmp_path: Path, empty_mlflow_database: Path) -> RunFolder:
    """A run that trained ten steps: 20 points."""
    folder = RunFolder(tmp_path / "runs" / "pretrain-1")
    folder.runs.mkdir()
    shutil.copy(empty_mlflow_database, folder.runs / "mlflow.db")
    folder.write_config(to_yaml(RunConfig()))
    log = EventLog(folder.events)
    log.emit(RunStarted(pipeline="pretrain", command="gristmill run pretrain", versions={"torch": "2.13.0"}))
    for step in range(1, 11):
        log.emit(TrainStep(step=step, steps=10, loss=5.0 - step / 10, lr=1e-3))
    return folder


@pytest.fixture
def refusing_server() -> Iterator[Callable[[int, str, str], str]]:
    """Starts a server that gives the same answer to everything; call it with status, content type and body."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, kind: str, body: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            request.send_header("Content-Type", kind)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body.encode())

        quiet = {"do_GET": answer, "do_POST": answer, "log_message": lambda *_: None}
        Handler = type("Handler", (BaseHTTPRequestHandler,), quiet)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
