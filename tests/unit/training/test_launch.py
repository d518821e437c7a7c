"""What the parent makes of how its ranks ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.errors import Preempted, UserError, as_error
from llm.storage import LocalObjects
from llm.training.launch import _death, _environment, this_machine_alone
from llm.training.plan import OUTCOME_BYTES, Outcome

FAILURES = """
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : -15 (pid: 13701)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : {code} (pid: 13700)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "workers.log"


def test_an_outcome_is_taken_once(tmp_path: Path):
    Outcome.reserve(tmp_path)
    Outcome(exit_code=2, message="the disk is full\n  ü").write(tmp_path)
    assert (tmp_path / "outcome.json").stat().st_size == OUTCOME_BYTES
    assert Outcome.take(tmp_path) == Outcome(exit_code=2, message="the disk is full\n  ü")
    assert Outcome.take(tmp_path) is None


def test_reserved_room_is_no_outcome(tmp_path: Path):
    Outcome.reserve(tmp_path)
    assert Outcome.take(tmp_path) is None


def test_a_killed_rank_is_named_with_the_last_checkpoint(log: Path):
    log.write_text(FAILURES.format(code=-9))
    error = _death(log, asked_to_stop=False, last_checkpoint="The last checkpoint is of step 25.")
    assert isinstance(error, Preempted)
    assert str(error).splitlines()[0] == "rank 0 of the training was killed (SIGKILL)"
    assert "The last checkpoint is of step 25. Run the same command" in str(error)


def test_a_fault_of_ours_shows_the_end_of_the_log_and_its_place(log: Path):
    log.write_text("early\n" + "line\n" * 20 + "RuntimeError: boom\n")
    error = _death(log, asked_to_stop=False, last_checkpoint="")
    assert isinstance(error, RuntimeError)
    assert str(log) in str(error)
    assert "boom" in str(error)
    assert "early" not in str(error)


def test_a_stop_before_the_first_step_is_no_fault(log: Path):
    log.write_text("SignalException")
    error = _death(log, asked_to_stop=True, last_checkpoint="There is no checkpoint yet.")
    assert isinstance(error, Preempted)


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (75, Preempted)])
def test_what_a_rank_said_to_the_user_reaches_them_unchanged(code: int, kind: type[Exception]):
    error = as_error(code, "what\n  where")
    assert type(error) is kind
    assert str(error) == "what\n  where"


def test_a_resumed_training_keeps_the_threads_of_its_first_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their number decides the order in which sums are formed."""
    vault, node = LocalObjects(tmp_path), this_machine_alone()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert _environment(vault, node, 2)["OMP_NUM_THREADS"] == "4"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert _environment(vault, node, 2)["OMP_NUM_THREADS"] == "4"


def test_a_pod_uses_the_processors_that_it_asked_for_not_those_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRISTMILL_CPUS", "3")
    assert _environment(LocalObjects(tmp_path), this_machine_alone(), 1)["OMP_NUM_THREADS"] == "3"
