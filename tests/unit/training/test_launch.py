"""What the parent makes of how its ranks ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.errors import Preempted, UserError, as_error
from llm.storage import LocalObjects
from llm.training.launch import _environment, command_to_join, first_of_several, this_machine_alone
from llm.training.plan import OUTCOME_BYTES, Outcome
from llm.training.pod import node
from tests.cases.training import training


def test_an_outcome_is_taken_once(tmp_path: Path):
    Outcome.reserve(tmp_path)
    Outcome(exit_code=2, message="the disk is full\n  ü").write(tmp_path)
    assert (tmp_path / "outcome.json").stat().st_size == OUTCOME_BYTES
    taken = Outcome.take(tmp_path)
    assert taken is not None
    assert (taken.exit_code, taken.message) == (2, "the disk is full\n  ü")
    assert Outcome.take(tmp_path) is None


def test_reserved_room_is_no_outcome(tmp_path: Path):
    Outcome.reserve(tmp_path)
    assert Outcome.take(tmp_path) is None


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (75, Preempted)])
def test_what_a_rank_said_to_the_user_reaches_them_unchanged(code: int, kind: type[Exception]):
    error = as_error(code, "what\n  where")
    assert type(error) is kind
    assert str(error) == "what\n  where"


def test_a_resumed_training_keeps_the_threads_of_its_first_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their number decides the order in which sums are formed."""
    workspace, node = LocalObjects(tmp_path), this_machine_alone()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert _environment(workspace, node, 2)["OMP_NUM_THREADS"] == "4"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert _environment(workspace, node, 2)["OMP_NUM_THREADS"] == "4"


def test_a_pod_uses_the_processors_that_it_asked_for_not_those_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRISTMILL_CPUS", "3")
    assert _environment(LocalObjects(tmp_path), this_machine_alone(), 1)["OMP_NUM_THREADS"] == "3"


def test_no_option_of_another_torchrun_reaches_the_ranks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PET_NNODES", "2")
    assert "PET_NNODES" not in _environment(LocalObjects(tmp_path), this_machine_alone(), 1)
    assert _environment(LocalObjects(tmp_path), node(), 1)["PET_NNODES"] == "2", "a pod's come from Trainer"


def test_the_first_of_several_machines_and_those_that_join_it_meet_at_one_place():
    settings = {"parallel.nodes": 3, "parallel.processes": 4, "parallel.rendezvous": "node-0:29400"}
    parallel = training(settings).parallel
    first = first_of_several(parallel)
    assert first.torchrun == ("--nnodes=3", "--node-rank=0", "--master-addr=node-0", "--master-port=29400")
    assert command_to_join(parallel, "file:///a b/plan.json") == (
        "PET_NODE_RANK=N PET_NNODES=3 PET_NPROC_PER_NODE=4 PET_MASTER_ADDR=node-0 PET_MASTER_PORT=29400"
        " python -m llm.training.pod 'file:///a b/plan.json'"
    )
