"""The question of `helm test`, against a server in this process that answers as Triton does."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llm.serving.pod.answer import main


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        text = next(self.server.answers)
        event = {"text_output": text, "token_id": 1, "final": True, "finish_reason": "length"}
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_the_same_answer_twice_is_printed(server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers = itertools.repeat("main():")
    assert main([_url(server), "mill"]) == 0
    assert capsys.readouterr().out == f"mill at {_url(server)} streams, and answers twice the same:\ndef main():\n"


def test_two_answers_to_one_question_are_an_error(
    server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = iter(["main():", "other():"])
    assert main([_url(server), "mill"]) == 2
    assert capsys.readouterr().err == (
        f"error: mill at {_url(server)} gives two answers to one question\n  first:  'main():'\n  second: 'other():'\n"
        "  Greedy decoding has one right answer: do the replicas serve different versions?\n"
    )


def test_a_server_that_is_not_there_is_an_error(
    server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = iter([])
    assert main(["http://127.0.0.1:1", "mill"]) == 2
    assert "error: Triton at http://127.0.0.1:1 does not answer" in capsys.readouterr().err
