"""The root cause of a training's end, out of what its ranks left."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from llm.errors import Preempted, UserError
from llm.training.death import Fault, death, is_lost_connection, leave_fault, take_faults

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

    def end(
        log: str, *faults: Fault, code: int = 1, stop_requested: bool = False, silent: tuple[str, ...] = ()
    ) -> Exception:
        (tmp_path / "workers.log").write_text(log)
        return death(tmp_path / "workers.log", list(faults), code, stop_requested, GO_ON, silent)

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


def test_machines_that_did_not_meet_are_an_outage(ended):
    words = "static_tcp_rendezvous.py\ntorch.distributed.DistNetworkError: The client socket has timed out after 6000ms"
    error = ended(f"{words} while trying to connect to (node-0, 29400).")
    assert isinstance(error, Preempted)
    assert "node-0:29400, where the machines of the training meet, did not answer for 6 s" in str(error)
    assert GO_ON in str(error)


def test_a_lost_connection_without_another_cause_is_an_outage(ended):
    error = ended("", fault(0, PEER, lost_a_rank=True))
    assert isinstance(error, Preempted)
    assert "rank 0 of the training lost the connection to another rank" in str(error)


def test_a_stop_before_the_first_step_is_no_fault(ended):
    assert str(ended("SignalException", stop_requested=True)).startswith("stopped on request before a rank could save")


def test_a_rank_that_hangs_is_named_whether_a_stop_was_asked_for_or_not(ended):
    silent = ("rank 1 is stopped (SIGSTOP)",)
    lost = fault(0, PEER, lost_a_rank=True)
    hung = ended("", lost, code=-9, silent=silent)
    assert isinstance(hung, Preempted)
    assert str(hung).startswith("no step of the training came for long: rank 1 is stopped (SIGSTOP)\n")
    asked = ended("", lost, code=-9, silent=silent, stop_requested=True)
    assert str(asked).startswith("stopped on request, and nothing was saved at that: rank 1 is stopped (SIGSTOP)\n")


def test_a_fault_comes_before_a_stop(ended):
    assert isinstance(ended("", fault(0, "RuntimeError: boom"), stop_requested=True), RuntimeError)


def test_an_end_without_a_word_shows_the_end_of_the_log_and_its_place(ended, tmp_path: Path):
    error = ended("early\n" + "line\n" * 20 + "ImportError: boom\n")
    assert isinstance(error, RuntimeError)
    assert f"the training processes failed; the whole log is {tmp_path / 'workers.log'}" in str(error)
    assert str(error).endswith("ImportError: boom")
    assert "early" not in str(error)


CUDA = "RuntimeError: CUDA error: {}\nCUDA kernel errors might be asynchronously reported at some other API call"
ECC = CUDA.format("uncorrectable ECC error encountered")


@pytest.mark.parametrize(
    "words",
    ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 3 has a total capacity of 79.11 GiB",
     CUDA.format("out of memory"), "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
     "RuntimeError: [enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"],
)  # fmt: skip
def test_a_lack_of_memory_is_the_users_to_change(ended, words: str):
    error = ended(torchruns_log(1), fault(1, PEER, lost_a_rank=True), fault(3, words))
    assert isinstance(error, UserError)
    assert "rank 3 of the training on " in str(error)
    assert "Lower training.batch.micro_batch_size, set training.compute.recompute=layers" in str(error)


@pytest.mark.parametrize(
    "words", [ECC, CUDA.format("CUDA-capable device(s) is/are busy or unavailable"), "NVML: GPU is lost"]
)
def test_a_broken_device_is_no_fault_of_ours_and_names_its_node(ended, words: str):
    error = ended(torchruns_log(1), fault(0, "RuntimeError: boom"), fault(3, words))
    assert isinstance(error, Preempted), "it goes on elsewhere"
    assert f"the device of rank 3 on {socket.gethostname()} is broken: " in str(error)
    assert "kubectl cordon" in str(error)
    assert GO_ON in str(error)


def test_a_broken_device_that_only_the_log_knows_is_found_there(ended):
    log = f"terminate called after throwing an instance of 'c10::Error'\n  what():  {ECC}\n"
    error = ended(log + torchruns_log(-15, -6))
    assert "the device of rank 1 on " in str(error)
    old = ended(log + "step\n" * 10_000 + torchruns_log(-9))
    assert "rank 0 of the training was killed (SIGKILL)" in str(old)


@pytest.mark.parametrize("words", ["an illegal memory access was encountered", "device-side assert triggered"])
def test_what_a_kernel_did_wrong_is_a_fault_of_ours(ended, words: str):
    error = ended(torchruns_log(1), fault(0, CUDA.format(words)))
    assert not isinstance(error, Preempted | UserError)


def test_an_nccl_timeout_names_the_ranks_that_waited(ended):
    line = (
        "[rank{0}]:[E1130 12:00:00 ProcessGroupNCCL.cpp:629] [Rank {0}] Watchdog caught collective operation timeout:"
        " WorkNCCL(SeqNum=41, OpType=ALLREDUCE, NumelIn=1, Timeout(ms)=600000) ran for 600029 milliseconds\n"
    )
    error = ended(line.format(0) + line.format(2) + torchruns_log(-6, -15, -6))
    assert isinstance(error, Preempted)
    assert "a collective operation (NCCL ALLREDUCE) took too long: on " in str(error)
    assert "rank 0, 2 waited\n  A rank that is not among these did not come" in str(error)


@pytest.mark.parametrize(
    ("words", "lost"),
    [("NCCL error in: NCCLUtils.cpp:78, remote process exited or there was a network error, NCCL version 2.27.3\n"
      "ncclRemoteError: A call failed possibly due to a network error", True),
     ("ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.", True),
     ("ncclInvalidUsage: This usually reflects invalid usage of NCCL library.", False)],
)  # fmt: skip
def test_a_failed_collective_is_a_lost_rank_and_a_wrong_use_of_it_is_ours(words: str, lost: bool):
    assert is_lost_connection(RuntimeError(words)) == lost
