"""A pod that has just started waits for its way to a server, and not for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from llm.process import reach
from llm.process.reach import await_route


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which nobody listens yet."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "WAIT_SECONDS", 0.02)


def test_a_server_that_lets_us_through_later_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        refused = threading.Event()
        monkeypatch.setattr(reach.time, "sleep", lambda _: (refused.set(), server.listen()))
        assert await_route(f"http://127.0.0.1:{server.getsockname()[1]}/bucket", 60)
        assert refused.is_set()


def test_one_that_stays_away_is_given_up(port: int):
    assert not await_route(f"http://127.0.0.1:{port}", 0.1)


@pytest.mark.parametrize("uri", [None, ""])
def test_without_an_address_nothing_is_waited_for(uri: str | None):
    assert await_route(uri)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:port", "http://nowhere.invalid", "nonsense"])
def test_an_address_that_is_none_is_for_the_next_request_to_tell(uri: str):
    assert not await_route(uri, 0.1)
