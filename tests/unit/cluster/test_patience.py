"""Patience with a server: how long, how often, and what is said."""

from __future__ import annotations

import pytest

from llm.cluster.patience import patiently
from llm.cluster.refusal import Refused, Unreachable
from tests.fakes.cluster import HandClock


class Server:
    """It is away until a time."""

    def __init__(self, back_at: float) -> None:
        self.clock, self.back_at, self.asked = HandClock(), back_at, 0
        self.said: list[str] = []

    def ask(self) -> str:
        self.asked += 1
        if self.clock.now() < self.back_at:
            raise Unreachable("k does not answer: Connection refused", "Is it up?")
        return "here"

    def asked_patiently(self, seconds: float) -> str:
        return patiently(self.ask, seconds, self.said.append, "k", clock=self.clock, meanwhile=", the run goes on")


def test_an_answer_at_once_needs_no_words():
    server = Server(0)
    assert (server.asked_patiently(60), server.asked, server.said) == ("here", 1, [])


@pytest.mark.parametrize("away", [0.1, 3, 59])
def test_an_outage_is_waited_out_and_said_once(away: float):
    server = Server(away)
    assert server.asked_patiently(60) == "here"
    assert server.said == [
        "k does not answer: Connection refused; trying again for 1 min, the run goes on", "k answers again"
    ]  # fmt: skip
    assert away <= server.clock.now() < away + 5
    assert server.asked <= 2 + away, "it is asked ever less often"


@pytest.mark.parametrize(("seconds", "asked"), [(0, 1), (1, 4)])
def test_a_server_that_stays_away_is_given_up_in_time(seconds: float, asked: int):
    server = Server(1e9)
    with pytest.raises(Unreachable, match=r"Connection refused\n  Is it up\?"):
        server.asked_patiently(seconds)
    assert (server.clock.now() <= seconds, server.asked) == (True, asked)


def test_a_try_that_takes_all_the_time_is_the_only_one():
    server = Server(1e9)

    def slowly() -> str:
        server.clock.sleep(30)
        return server.ask()

    with pytest.raises(Unreachable, match="Connection refused"):
        patiently(slowly, 30, server.said.append, "k", clock=server.clock)
    assert (server.asked, server.said) == (1, [])


def test_a_refusal_is_final():
    asked = []

    def ask() -> None:
        asked.append(1)
        raise Refused(403, "Forbidden", "no")

    with pytest.raises(Refused, match="no"):
        patiently(ask, 60, lambda line: None, "k", clock=HandClock())
    assert len(asked) == 1


def test_a_pause_may_end_the_wait():
    server = Server(1e9)

    def pause(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patiently(server.ask, 60, lambda line: None, "k", clock=server.clock, pause=pause)
