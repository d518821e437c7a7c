"""Machines that do not meet: torchrun's own words, and those that a user reads."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from llm.errors import Preempted, UserError
from llm.training.guards.meeting import not_met

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
            "--master-addr=127.0.0.1", "--rdzv-conf=timeout=5"]  # fmt: skip
AGAIN = "Run the same command to go on."


def log_of(number: int, port: int) -> str:
    """What torchrun writes on the machine of this number, when it is alone."""
    command = [*TORCHRUN, f"--node-rank={number}", f"--master-port={port}", "no_such_file.py"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100).stderr


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_port_that_another_process_has_is_the_users_to_change():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = not_met(log_of(0, port), AGAIN)
    assert isinstance(error, UserError)
    assert f"port {port} of this machine, where the machines of the training meet, is in use" in str(error)


@pytest.mark.parametrize(("number", "words"), [(0, "1 of 2 machines came within"), (1, "did not answer for 5 s")])
def test_a_machine_that_does_not_come_is_an_outage(number: int, words: str):
    error = not_met(log_of(number, free_port()), AGAIN)
    assert isinstance(error, Preempted)
    assert words in str(error)
    assert str(error).endswith(AGAIN)


@pytest.mark.parametrize("log", ["", "DistStoreError: Timed out after 7 seconds waiting for clients. 1/2 clients"])
def test_what_happened_after_the_meeting_is_judged_elsewhere(log: str):
    assert not_met(log, AGAIN) is None
