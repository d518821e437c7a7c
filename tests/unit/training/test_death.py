"""The root cause of a training's end, out of what its ranks left."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.errors import Preempted
from llm.training.death import Fault, death, leave_fault, take_faults

GO_ON = "The last checkpoint is of step 25."
PEER = "[/gloo/transport/tcp/pair.cc:551] Connection closed by peer [127.0.0.1]:41"


def torchruns_log(*codes: int) -> str:
    """What torchrun writes of the ranks that failed, in the order that it saw them."""
    ends = [
        f"  rank      : {rank} (local_rank: {rank})\n  exitcode  : {code} (pid: 137)" for rank, code in enumerate(codes)
    ]
    return "early\n" + "line\n" * 20 + "Failures:\n" + "\n".join(ends) + "\n"


@pytest.fixture
def ended(tmp_path: Path):
    """How the training ends for its user, with what the log says and what ranks left."""

    def end(log: str, *faults: Fault, code: int = 1, stop_requested: bool = False) -> Exception:
        (tmp_path / "workers.log").write_text(log)
        return death(tmp_path / "workers.log", list(faults), code, stop_requested, GO_ON)

    return end


def fault(rank: int, words: str, *, lost_a_rank: bool = False) -> Fault:
    return Fault(at=float(rank), rank=rank, lost_a_rank=lost_a_rank, traceback=f"Traceback\n{words}\n")


@pytest.mark.parametrize("codes", [(1, -15), (-15, 1), (1, -9), (1, 1)])
def test_a_fault_of_one_rank_is_the_cause_whatever_signals_ended_the_others(ended, codes: tuple[int, int]):
    error = ended(torchruns_log(*codes), fault(1, "RuntimeError: boom"), fault(0, PEER, lost_a_rank=True))
    assert isinstance(error, RuntimeError)
    assert "rank 1 of the training failed; the whole log is " in str(error)
    assert str(error).endswith("Traceback\nRuntimeError: boom")


def test_of_two_faults_the_first_is_the_cause(tmp_path: Path):
    leave_fault(tmp_path, 1, ValueError("first"))
    leave_fault(tmp_path, 0, ValueError("second"))
    assert [found.rank for found in take_faults(tmp_path)] == [1, 0]
    assert take_faults(tmp_path) == []


def test_a_rank_that_lost_another_one_says_so_with_its_traceback(tmp_path: Path):
    try:
        raise RuntimeError(PEER)
    except RuntimeError as error:
        leave_fault(tmp_path, 3, error)
    (found,) = take_faults(tmp_path)
    assert (found.rank, found.lost_a_rank) == (3, True)
    assert "Traceback (most recent call last)" in found.traceback


def test_what_a_rank_could_not_finish_writing_is_left_out(tmp_path: Path):
    (tmp_path / "fault-0.json").write_text('{"at": 1')
    assert take_faults(tmp_path) == []


@pytest.mark.parametrize(("code", "name"), [(-9, "SIGKILL"), (-15, "SIGTERM"), (-1, "SIGHUP"), (-6, "SIGABRT")])
def test_a_killed_rank_is_named_with_the_last_checkpoint(ended, code: int, name: str):
    error = ended(torchruns_log(code), fault(1, PEER, lost_a_rank=True))
    assert isinstance(error, Preempted)
    assert str(error) == (
        f"rank 0 of the training was killed ({name})\n  By hand, or for lack of memory.\n"
        f"  {GO_ON} Run the same command to go on."
    )


def test_a_kill_comes_before_the_stop_that_torchrun_sent_to_the_others(ended):
    assert "rank 1 of the training was killed (SIGKILL)" in str(ended(torchruns_log(-15, -9, -15)))


def test_a_crash_is_a_fault_of_ours(ended):
    error = ended(torchruns_log(-15, -11))
    assert isinstance(error, RuntimeError)
    assert "rank 1 of the training crashed (SIGSEGV)" in str(error)


def test_a_killed_torchrun_tells_the_user_to_run_again(ended):
    error = ended("", code=-9)
    assert isinstance(error, Preempted)
    assert str(error).startswith("torchrun, which watches the ranks of the training, was killed (SIGKILL)\n")
    assert "Run the same command to go on" in str(error)


def test_a_lost_connection_without_another_cause_is_an_outage(ended):
    error = ended("", fault(0, PEER, lost_a_rank=True))
    assert isinstance(error, Preempted)
    assert "rank 0 of the training lost the connection to another rank" in str(error)


def test_a_stop_before_the_first_step_is_no_fault(ended):
    assert str(ended("SignalException", stop_requested=True)).startswith("stopped on request before a rank could save")


def test_a_fault_comes_before_a_stop(ended):
    assert isinstance(ended("", fault(0, "RuntimeError: boom"), stop_requested=True), RuntimeError)


def test_an_end_without_a_word_shows_the_end_of_the_log_and_its_place(ended, tmp_path: Path):
    error = ended("early\n" + "line\n" * 20 + "ImportError: boom\n")
    assert isinstance(error, RuntimeError)
    assert f"the training processes failed; the whole log is {tmp_path / 'workers.log'}" in str(error)
    assert str(error).endswith("ImportError: boom")
    assert "early" not in str(error)
