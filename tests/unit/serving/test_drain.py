"""A drain waits for what is owed, and not for ever."""

from __future__ import annotations

import socket
import sys
from itertools import chain, count, repeat
from pathlib import Path

import pytest

from llm.serving.pod.drain import IDLE_SECONDS, POLL_SECONDS, drain, main, say
from llm.serving.pod.open_requests import Requests
from llm.words import duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_ends_when_no_request_has_been_open_for_a_while() -> None:
    said: list[str] = []
    clock = Clock()
    looks = chain([Requests(2, 0), Requests(2, 0), Requests(1, 1), Requests(0, 2)], repeat(Requests(0, 2)))
    assert drain(lambda: next(looks), 120, said.append, clock=clock, sleep=clock.sleep)
    assert clock.now - 100 == pytest.approx(0.4 + IDLE_SECONDS, abs=0.3)
    assert said == ["requests open: 2", f"no request is open, after {duration(clock.now - 100)}"]


def test_a_client_that_asks_again_at_once_keeps_it_waiting_although_no_look_finds_its_request_open() -> None:
    clock = Clock()
    looks = (Requests(0, answered) for answered in chain(range(50), repeat(50)))
    assert drain(lambda: next(looks), 120, lambda _: None, clock=clock, sleep=clock.sleep)
    assert clock.now - 100 == pytest.approx(48 * POLL_SECONDS + IDLE_SECONDS, abs=0.5)


def test_it_ends_at_its_limit_and_says_what_will_be_cut_off() -> None:
    said: list[str] = []
    clock = Clock()
    assert not drain(lambda: Requests(3, 9), 25, said.append, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(125, abs=0.3)
    assert said == ["requests open: 3"] * 3 + ["requests still open after 25 s: 3; they will be cut off"]


def test_clients_that_ask_again_and_again_are_named_at_the_limit() -> None:
    said: list[str] = []
    clock = Clock()
    looks = (Requests(0, answered) for answered in count())
    assert not drain(lambda: next(looks), 25, said.append, clock=clock, sleep=clock.sleep)
    assert said == ["clients ask again and again for 25 s; they will be cut off"]


def test_a_triton_without_its_models_process_is_not_waited_for(tmp_path: Path) -> None:
    assert main(["--delay", "600", "--log", str(tmp_path / "log")]) == 0  # this machine's first process is no Triton
    assert (tmp_path / "log").read_text() == "drain: the model's process has died, so there is nothing to wait for\n"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which connections are open")
def test_connections_are_waited_for_where_triton_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.serving.pod.drain.model_process_lives", lambda: True)
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as other:
        port, silent = listening.getsockname()[1], other.getsockname()[1]
        other.close()
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0]:
            main(
                ["--delay", "0", "--limit", "0", "--log", str(log), "--ports", str(port), "--metrics-port", str(silent)]
            )
    assert log.read_text() == "drain: requests still open after 0 s: 1; they will be cut off\n"


def test_what_it_says_goes_to_the_containers_log_or_else_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say("one", tmp_path / "log")
    say("two", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    say("three", tmp_path)
    assert capsys.readouterr().err == "three\n"
