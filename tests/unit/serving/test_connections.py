"""Real connections, and what the kernel says of them."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from llm.serving.connections import connections, established, in_use

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's socket diagnostics")

QUIET = 0.3


class Pair:
    """A client and the server's end of its connection."""

    def __init__(self, family: socket.AddressFamily, address: str) -> None:
        with socket.create_server((address, 0), family=family) as listening:
            self.port = listening.getsockname()[1]
            self.client = socket.create_connection((address, self.port))
            self.server, _ = listening.accept()

    def used(self) -> int:
        return in_use({self.port}, QUIET)

    def become_quiet(self) -> None:
        time.sleep(QUIET + 0.2)


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    try:
        pair = Pair(*request.param)
    except OSError as error:
        pytest.skip(f"no {request.param[1]} here: {error}")
    yield pair
    pair.client.close()
    pair.server.close()


def test_a_connection_that_was_only_opened_is_idle_after_a_while(pair: Pair) -> None:
    assert pair.used() == 1
    pair.become_quiet()
    assert pair.used() == 0


def test_an_unanswered_question_keeps_a_connection_in_use(pair: Pair) -> None:
    pair.client.send(b"question")
    pair.become_quiet()
    assert pair.used() == 1
    pair.server.send(b"answer")
    assert pair.used() == 1  # only just
    pair.become_quiet()
    assert pair.used() == 0
    pair.client.send(b"another")
    pair.become_quiet()
    assert pair.used() == 1


def test_an_answer_that_the_client_has_not_taken_is_still_owed(pair: Pair) -> None:
    pair.client.send(b"question")
    pair.server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            pair.server.send(b"a" * 100_000)
    pair.become_quiet()
    assert pair.used() == 1


def test_a_closed_connection_is_gone(pair: Pair) -> None:
    pair.client.close()
    time.sleep(0.05)
    assert (pair.used(), established({pair.port})) == (0, 0)


def test_only_the_named_ports_count(pair: Pair) -> None:
    assert list(connections({pair.client.getsockname()[1] + 1})) == []
    assert [one.port for one in connections({pair.port})] == [pair.port]


def test_without_diagnostics_every_open_connection_counts(pair: Pair) -> None:
    pair.become_quiet()
    assert established({pair.port}) == 1
