"""The client against an HTTP server in this process that answers as Triton does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llm.errors import ServiceError
from llm.serving.triton.client import StreamedToken, complete, stream


def _event(text: str, token: int, reason: str = "") -> str:
    fields = {"model_name": "m", "text_output": text, "token_id": token, "final": bool(reason), "finish_reason": reason}
    return f"data: {json.dumps(fields)}\n\n"


ANSWERS = {
    "good": (200, _event("de", 5) + _event("f", 6, "length")),
    "broken": (200, _event("de", 5)),
    "failing": (200, _event("de", 5) + 'data: {"error":"out of memory"}\n\n'),
    "refused": (400, 'data: {"error":"top_k=0 is not possible"}'),
    "odd": (502, "<html>bad gateway</html>"),
}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        status, body = ANSWERS[self.path.split("/")[3]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_tokens_come_one_by_one_and_the_last_says_why(server: ThreadingHTTPServer) -> None:
    assert list(stream(_url(server), "good", "x", version=2, max_tokens=2)) == [
        StreamedToken("de", 5, False, None), StreamedToken("f", 6, True, "length"),
    ]  # fmt: skip
    assert server.received == [("/v2/models/good/versions/2/generate_stream", {"text_input": "x", "max_tokens": 2})]


def test_a_completion_is_its_pieces_joined(server: ThreadingHTTPServer) -> None:
    assert complete(_url(server), "good", "x") == "def"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("refused", "refused: 400 top_k=0 is not possible"),
        ("odd", "refused: 502 <html>bad gateway</html>"),
        ("failing", "failed: out of memory"),
        ("broken", "broke off before its last token"),
    ],
)
def test_a_server_that_does_not_answer_to_the_end_is_quoted(
    server: ThreadingHTTPServer, model: str, reason: str
) -> None:
    with pytest.raises(ServiceError, match=reason):
        complete(_url(server), model, "x")


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ServiceError, match=f"Triton at {url} does not answer: .*refused"):
        complete(url, "good", "x")
