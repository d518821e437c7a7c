"""A rank that somebody stopped is found, named, and does not keep the training from ending."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from llm.runs.event_kinds import Event, TrainingHangs, TrainStep, Warned
from llm.runs.events import EventLog
from llm.training.guards.hang import beats
from tests.integration.test_training_resume import ranks, start

DEADLINE_SECONDS = 180
"""For each wait, of which the start of the ranks is the longest."""


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Callable[[Mapping[str, object]], subprocess.Popen[str]]]:
    """Starts a training and stops its rank 1 after some steps."""
    started: list[subprocess.Popen[str]] = []

    def begin(settings: Mapping[str, object]) -> subprocess.Popen[str]:
        process = start(tmp_path, {"length.steps": 100_000, "checkpoints.every_steps": 100_000, **settings})
        started.append(process)
        wait_for_event(tmp_path, TrainStep, process)
        (pid,) = (one.pid for folder in tmp_path.glob("store/**/beat-1.json") for one in beats(folder.parent)[1:])
        os.kill(pid, signal.SIGSTOP)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for_event(folder: Path, kind: type[Event], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not EventLog(folder / "events.jsonl").of_kind(kind):
        assert time.monotonic() < deadline, f"no {kind.__name__}"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_a_stopped_rank_is_named_with_the_stacks_of_the_others_and_ends_the_training_in_time(stopped, tmp_path: Path):
    process = stopped({"guards": "{hang_seconds: 2}"})
    wait_for_event(tmp_path, TrainingHangs, process)
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 75
    assert "error: no step of the training came for long: rank 1 is stopped (SIGSTOP)\n" in errors
    assert "Run the same command to go on." in errors
    assert not ranks(tmp_path)
    (event,) = EventLog(tmp_path / "events.jsonl").of_kind(TrainingHangs)
    assert event.silent == ["rank 1 is stopped (SIGSTOP)"]
    log = Path(event.log).read_text()
    assert ") answers; its stacks:\n" in log
    assert "trainer.py" in log.split("answers; its stacks:", 1)[1], "the stack of rank 0"


def test_a_stop_that_is_asked_for_while_a_rank_is_stopped_saves_and_ends_at_once(stopped, tmp_path: Path):
    process = stopped({})
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert time.monotonic() - began < 30
    assert process.returncode == 75
    steps = [event.step for event in EventLog(tmp_path / "events.jsonl").of_kind(TrainStep)]
    assert f"stopped on request at step {steps[-1]} of 100000" in errors
    told = [event.message for event in EventLog(tmp_path / "events.jsonl").of_kind(Warned)]
    assert told == ["rank 1 is stopped (SIGSTOP): it was let go on, so that it can save"]
