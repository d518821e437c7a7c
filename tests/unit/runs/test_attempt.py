from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm.runs import Attempt, last_attempt
from llm.runs.events import EventLog


def attempt(*events: tuple[str, dict[str, Any]]) -> Attempt:
    return Attempt([{"time": float(place), "kind": kind, **fields} for place, (kind, fields) in enumerate(events)])


STARTED = ("run_started", {"pipeline": "pretrain"})
BEGUN = ("step_started", {"step": "train"})
DONE = ("step_finished", {"step": "train", "seconds": 3.0, "reused": False})


def ended(exit_code: int) -> tuple[str, dict[str, Any]]:
    return "run_finished", {"exit_code": exit_code, "seconds": 12.5}


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((STARTED, BEGUN, DONE, ended(0)), "finished"),
        ((STARTED, BEGUN, ended(2)), "failed"),
        ((STARTED, BEGUN, ended(4)), "not promoted"),
        ((STARTED, BEGUN, ended(75)), "stopped"),
        ((STARTED, BEGUN), "interrupted"),
        ((STARTED, BEGUN, DONE), "interrupted"),
        ((BEGUN, DONE), "finished"),
        ((BEGUN, ("step_failed", {"step": "train", "exit_code": 2, "message": "no", "seconds": 1.0})), "failed"),
        ((), "interrupted"),
    ],
)
def test_the_state_follows_from_the_events(events: tuple[tuple[str, dict[str, Any]], ...], state: str):
    assert attempt(*events).state(is_held=False) == state


def test_an_unfinished_attempt_is_running_while_its_folder_is_held():
    assert attempt(STARTED, BEGUN).state(is_held=True) == "running"
    assert attempt(STARTED, ended(0)).state(is_held=True) == "finished"


def test_the_duration_is_the_runs_own_or_up_to_the_last_event():
    assert attempt(STARTED, ended(0)).seconds == 12.5
    assert attempt(STARTED, BEGUN, DONE).seconds == 2.0
    assert attempt().seconds is None


def test_a_step_that_was_begun_again_counts_as_it_stands_now():
    assert attempt(STARTED, BEGUN, DONE, BEGUN).steps["train"].state == "unfinished"
    reused = ("step_finished", {"step": "train", "seconds": 0.1, "reused": True})
    assert attempt(STARTED, BEGUN, DONE, BEGUN, reused).steps["train"].state == "reused"


def test_only_the_events_after_the_last_start_belong_to_the_last_attempt(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("run_started", pipeline="pretrain")
    log.emit("step_failed", step="train", exit_code=2, message="no", seconds=1.0)
    log.emit("run_started", pipeline="pretrain")
    log.emit("step_started", step="ingest")
    assert list(last_attempt(log.path).steps) == ["ingest"]
    assert last_attempt(tmp_path / "none.jsonl").events == []


def test_the_steps_of_one_submission_are_one_attempt_and_those_of_the_next_another(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("run_started", kfp_run="a")
    log.emit("step_failed", step="train", exit_code=2, message="no", seconds=1.0)
    log.emit("run_started", kfp_run="b")
    log.emit("step_started", step="ingest")
    log.emit("run_started", kfp_run="b")  # a step that began beside the first
    log.emit("step_started", step="validate")
    attempt = last_attempt(log.path)
    assert list(attempt.steps) == ["ingest", "validate"]
    assert attempt.failure is None
