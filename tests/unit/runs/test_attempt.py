from __future__ import annotations

from pathlib import Path

import pytest

from llm.runs import Attempt, last_attempt
from llm.runs.event_kinds import Event, RunFinished, RunStarted, StepFailed, StepFinished, StepStarted
from llm.runs.events import EventLog


def attempt(*events: Event) -> Attempt:
    return Attempt([event.model_copy(update={"time": float(place)}) for place, event in enumerate(events)])


STARTED = RunStarted(pipeline="pretrain")
BEGUN = StepStarted(step="train")
DONE = StepFinished(step="train", seconds=3.0, reused=False)


def ended(exit_code: int) -> RunFinished:
    return RunFinished(exit_code=exit_code, seconds=12.5)


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
        ((BEGUN, StepFailed(step="train", exit_code=2, message="no", seconds=1.0)), "failed"),
        ((), "interrupted"),
    ],
)
def test_the_state_follows_from_the_events(events: tuple[Event, ...], state: str):
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
    reused = StepFinished(step="train", seconds=0.1, reused=True)
    assert attempt(STARTED, BEGUN, DONE, BEGUN, reused).steps["train"].state == "reused"


def test_only_the_events_after_the_last_start_belong_to_the_last_attempt(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(RunStarted(pipeline="pretrain"))
    log.emit(StepFailed(step="train", exit_code=2, message="no", seconds=1.0))
    log.emit(RunStarted(pipeline="pretrain"))
    log.emit(StepStarted(step="ingest"))
    assert list(last_attempt(log.path).steps) == ["ingest"]
    assert last_attempt(tmp_path / "none.jsonl").events == []


def test_the_steps_of_one_submission_are_one_attempt_and_those_of_the_next_another(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(RunStarted(kfp_run="a"))
    log.emit(StepFailed(step="train", exit_code=2, message="no", seconds=1.0))
    log.emit(RunStarted(kfp_run="b"))
    log.emit(StepStarted(step="ingest"))
    log.emit(RunStarted(kfp_run="b"))  # a step that began beside the first
    log.emit(StepStarted(step="validate"))
    attempt = last_attempt(log.path)
    assert list(attempt.steps) == ["ingest", "validate"]
    assert attempt.failure is None
