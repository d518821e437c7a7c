"""What a Triton's counters and its connections say of open requests: real connections, and real answers over HTTP."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llm.serving.pod.open_requests import Requests, connections, requests

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's table of connections")

TRITON = 4711
QUIET = 'nv_inference_pending_request_count{model="gristmill",version="1"} 0\n'


def test_open_requests_are_those_of_the_model_and_those_in_its_queue(
    metrics: Callable[[str], str], model: Callable[..., None]
) -> None:
    model(os.getpid(), 3)
    model(os.getppid(), 1)
    model(2**22 + 1, 9)  # no such process: what one that died left
    url = metrics(
        'nv_inference_pending_request_count{model="gristmill",version="1"} 2\n'
        'nv_inference_request_success{model="gristmill",version="1"} 40\n'
        'nv_inference_request_failure{model="gristmill",reason="OTHER",version="1"} 2\n'
        "nv_cpu_memory_used_bytes 1.5e+09\n"
    )
    assert requests(url, (), TRITON) == Requests(open=6, answered=42)


def test_a_model_without_requests_has_none_open(
    metrics: Callable[[str], str], model: Callable[..., None], pair: Pair
) -> None:
    model(os.getpid(), 0)
    assert requests(metrics(QUIET), {pair.port}, TRITON) == Requests(open=0, answered=0)


def test_without_the_models_count_every_open_connection_counts(
    metrics: Callable[[str], str], model: Callable[..., None], pair: Pair
) -> None:
    model(os.getpid(), 0, triton=TRITON + 1)
    assert requests(metrics(QUIET), {pair.port}, TRITON) == Requests(open=1, answered=0)


@pytest.mark.parametrize("content", ["", "no metrics here"])
def test_without_triton_s_counters_every_open_connection_counts(
    metrics: Callable[[str], str], model: Callable[..., None], pair: Pair, content: str
) -> None:
    model(os.getpid(), 0)
    assert requests(metrics(content), {pair.port}, TRITON) == Requests(open=1, answered=0)


def test_without_an_answer_every_open_connection_counts(pair: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert requests(f"http://127.0.0.1:{closed}/metrics", {pair.port}, TRITON) == Requests(open=1, answered=0)


def test_an_answer_that_the_client_has_not_taken_counts(
    metrics: Callable[[str], str], model: Callable[..., None], pair: Pair
) -> None:
    model(os.getpid(), 0)
    url = metrics(QUIET)
    pair.server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            pair.server.send(b"a" * 100_000)
    assert requests(url, {pair.port}, TRITON).open == 1


def test_a_question_that_the_server_has_not_read_counts_until_it_has(pair: Pair) -> None:
    pair.client.send(b"question")
    assert eventually(lambda: connections({pair.port}, busy_only=True) == 1)
    pair.server.recv(8)
    assert eventually(lambda: connections({pair.port}, busy_only=True) == 0)
    assert connections({pair.port}) == 1


def test_an_answer_on_a_connection_that_the_server_has_closed_still_counts(pair: Pair) -> None:
    pair.server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            pair.server.send(b"a" * 100_000)
    pair.server.close()
    assert connections({pair.port}, busy_only=True) == 1


def test_a_closed_connection_is_gone(pair: Pair) -> None:
    pair.client.close()
    pair.server.close()
    assert eventually(lambda: connections({pair.port}) == 0)


def test_only_the_named_ports_count(pair: Pair) -> None:
    assert connections({pair.client.getsockname()[1] + 1}) == 0
    assert connections({pair.port}) == 1


class Pair:
    """A client and the server's end of its connection."""

    def __init__(self, family: socket.AddressFamily, address: str) -> None:
        with socket.create_server((address, 0), family=family) as listening:
            self.port = listening.getsockname()[1]
            self.client = socket.create_connection((address, self.port))
            self.server, _ = listening.accept()


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    try:
        pair = Pair(*request.param)
    except OSError as error:
        pytest.skip(f"no {request.param[1]} here: {error}")
    yield pair
    pair.client.close()
    pair.server.close()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave the count of a process of the model, as it does."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def keeps(pid: int, count: int, *, triton: int = TRITON) -> None:
        (tmp_path / f"gristmill-open-requests-{triton}-{pid}").write_text(f"{count:10}\n")

    return keeps


@pytest.fixture
def metrics() -> Iterator[Callable[[str], str]]:
    """A server of metrics: give it the text, get its address."""
    servers = []

    def serve(text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                """Stay quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
