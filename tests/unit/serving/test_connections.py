"""Real connections, and what the kernel says of them."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from llm.serving.pod.connections import Connection, connections, in_use, open_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's socket diagnostics")

FOR_EVER = 1e9


class Pair:
    """A client and the server's end of its connection."""

    def __init__(self, family: socket.AddressFamily, address: str) -> None:
        with socket.create_server((address, 0), family=family) as listening:
            self.port = listening.getsockname()[1]
            self.client = socket.create_connection((address, self.port))
            self.server, _ = listening.accept()

    @property
    def connection(self) -> Connection:
        (one,) = connections({self.port})
        return one

    def used(self, idle_after_seconds: float) -> int:
        return in_use({self.port}, idle_after_seconds)

    def become_quiet(self) -> None:
        """Let the kernel's clock, which counts milliseconds, see what comes next as later."""
        time.sleep(0.1)

    @staticmethod
    def comes_to(what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.01)


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
    assert (pair.used(FOR_EVER), pair.used(0)) == (1, 0)
    assert not pair.connection.owed


def test_an_unanswered_question_keeps_a_connection_in_use(pair: Pair) -> None:
    pair.client.send(b"question")
    pair.become_quiet()
    assert pair.used(0) == 1
    pair.server.send(b"answer")
    pair.comes_to(lambda: pair.used(0) == 0)
    assert pair.used(FOR_EVER) == 1
    pair.client.send(b"another")
    pair.become_quiet()
    assert pair.used(0) == 1


def test_a_connection_is_quiet_since_the_last_word_on_it(pair: Pair) -> None:
    pair.become_quiet()
    before = pair.connection.quiet_seconds
    started = time.monotonic()
    pair.become_quiet()
    assert pair.connection.quiet_seconds > before
    pair.client.send(b"question")
    assert pair.connection.quiet_seconds <= time.monotonic() - started - 0.05


def test_an_answer_that_the_client_has_not_taken_is_still_owed(pair: Pair) -> None:
    pair.client.send(b"question")
    pair.server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            pair.server.send(b"a" * 100_000)
    assert pair.connection.owed


def test_a_client_that_will_ask_no_more_is_still_owed_its_answer(pair: Pair) -> None:
    pair.client.send(b"question")
    pair.client.shutdown(socket.SHUT_WR)
    pair.become_quiet()
    assert (pair.used(0), open_connections({pair.port})) == (1, 1)
    pair.server.send(b"answer")
    pair.comes_to(lambda: pair.used(0) == 0)


def test_a_client_that_goes_without_a_question_is_owed_nothing(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    pair.become_quiet()
    assert not pair.connection.owed


def test_every_open_connection_of_grpc_counts(pair: Pair) -> None:
    assert in_use((), 0, {pair.port}) == 1
    pair.client.close()
    pair.server.close()
    pair.comes_to(lambda: in_use((), FOR_EVER, {pair.port}) == 0)


def test_a_closed_connection_is_gone(pair: Pair) -> None:
    pair.client.close()
    pair.server.close()
    pair.comes_to(lambda: (pair.used(FOR_EVER), open_connections({pair.port})) == (0, 0))


def test_only_the_named_ports_count(pair: Pair) -> None:
    assert list(connections({pair.client.getsockname()[1] + 1})) == []
    assert [one.port for one in connections({pair.port})] == [pair.port]


def test_without_diagnostics_every_open_connection_counts(pair: Pair) -> None:
    assert open_connections({pair.port}) == 1
