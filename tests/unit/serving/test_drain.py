"""A drain waits for what is owed, and not for ever."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from llm.serving.pod.drain import drain, main, say


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_ends_when_nothing_is_owed_any_more() -> None:
    said: list[str] = []
    clock = Clock()
    left = iter([2, 2, 1, 0])
    assert drain(lambda: next(left), 120, said.append, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(100.6)
    assert said == ["2 connections in use", "no answer is owed any more, after 0.6 s"]


def test_it_ends_at_its_limit_and_says_who_will_be_cut_off() -> None:
    said: list[str] = []
    clock = Clock()
    assert not drain(lambda: 3, 25, said.append, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(125, abs=0.3)
    assert said == ["3 connections in use"] * 3 + ["3 connections are still in use after 25 s; they will be cut off"]


def test_a_triton_without_its_models_process_is_not_waited_for(tmp_path: Path) -> None:
    assert main(["--delay", "600", "--log", str(tmp_path / "log")]) == 0  # this machine's first process is no Triton
    assert (tmp_path / "log").read_text() == "drain: the model's process has died, so there is nothing to wait for\n"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which connections are open")
def test_grpc_clients_are_waited_for_although_they_are_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.serving.pod.drain.model_process_lives", lambda: True)
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listening.accept()[0]:
            common = ["--delay", "0", "--idle", "0", "--limit", "0", "--log", str(log)]
            main([*common, "--ports", "1", "--grpc-ports", str(port)])
            assert log.read_text() == "drain: 1 connections are still in use after 0 s; they will be cut off\n"
            log.unlink()
            main([*common, "--ports", str(port), "--grpc-ports", "1"])
            assert log.read_text() == "drain: no answer is owed any more, after 0.0 s\n"


def test_what_it_says_goes_to_the_containers_log_or_else_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say("one", tmp_path / "log")
    say("two", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    say("three", tmp_path)
    assert capsys.readouterr().err == "three\n"
