"""A training that is killed and started again is the same training, bit for bit."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from llm.errors import UserError
from llm.runs.event_kinds import TrainingChanged, TrainResumed, TrainStep
from llm.runs.events import EventLog
from llm.storage import Manifest
from tests.cases.training import run

STEPS = {"length.steps": 40, "checkpoints.every_steps": 3, "validation.every_steps": 20}
CASES = [
    pytest.param({"parallel.backend": {"name": "torch"}}, ("a rank", "the parent"), id="torch"),
    pytest.param({"parallel.backend": {"name": "deepspeed", "zero_stage": 1}}, ("a rank",), id="ZeRO-1"),
    pytest.param({"parallel.backend": {"name": "deepspeed", "zero_stage": 2}}, ("the parent",), id="ZeRO-2"),
]
PATIENCE_SECONDS = 180
SIGNALS = {"the parent": signal.SIGKILL, "a stop": signal.SIGTERM, "a hangup": signal.SIGHUP}


def start(folder: Path, settings: Mapping[str, object]) -> subprocess.Popen[str]:
    """The training call in a process of its own, as a step would make it."""
    command = [sys.executable, "-m", "tests.cases.training", str(folder), *(f"{k}={v}" for k, v in settings.items())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Poll until it is so; fails when the process ends before, or nothing happens for long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < deadline, "nothing happened"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.002)


def ranks(folder: Path) -> list[int]:
    """Processes of the ranks that train in this folder."""
    return processes(folder, are_ranks=True)


def torchrun(folder: Path) -> int:
    """The process of torchrun that watches them."""
    (pid,) = processes(folder, are_ranks=False)
    return pid


def processes(folder: Path, *, are_ranks: bool) -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile
        if b"llm.training.worker" in command and (b"torch.distributed.run" not in command) == are_ranks:
            pids += [int(path.parent.name)] if any(str(folder).encode() in part for part in command) else []
    return sorted(pids)


def last_step(folder: Path) -> int:
    return max((event.step for event in EventLog(folder / "events.jsonl").of_kind(TrainStep)), default=0)


def interrupt(folder: Path, at_step: int, whom: str, settings: Mapping[str, object]) -> tuple[int, str]:
    """Start the training, send a signal when it reaches the step, or the next one of its own if an earlier attempt
    came further; returns exit code and stderr."""
    at_step = max(at_step, last_step(folder) + 1)
    process = start(folder, settings)
    try:
        wait_for(lambda: last_step(folder) >= at_step, process)
        if whom == "torchrun":
            os.kill(torchrun(folder), signal.SIGKILL)
        elif whom == "a rank":
            os.kill(random.choice(ranks(folder)), signal.SIGKILL)
        else:
            process.send_signal(SIGNALS[whom])
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not ranks(folder))  # nobody outlives the call
    return process.returncode, errors


@pytest.mark.parametrize(("settings", "victims"), CASES)
def test_a_training_killed_at_random_moments_ends_with_the_weights_of_an_uninterrupted_one(
    settings: dict[str, object], victims: tuple[str, ...], tmp_path: Path
):
    settings = {**settings, **STEPS}
    uninterrupted = run(tmp_path / "whole", settings)
    moments = random.Random(str(settings))
    folder = tmp_path / "killed"
    for number, victim in enumerate(victims):
        code, errors = interrupt(folder, moments.randint(7, 16) + 16 * number, victim, settings)
        if victim == "a rank":
            assert code == 75
            assert re.search(r"rank \d of the training was killed \(SIGKILL\)(.|\n)*last checkpoint is of step", errors)
            assert "Traceback" not in errors
        else:
            assert code == -signal.SIGKILL
    resumed = run(folder, settings)
    assert resumed.files == uninterrupted.files
    assert resumed.id == uninterrupted.id
    assert len(EventLog(folder / "events.jsonl").of_kind(TrainResumed)) == len(victims)


@pytest.mark.parametrize("whom", ["a stop", "a hangup"])
def test_a_stop_asked_of_the_parent_saves_at_that_step_and_the_next_call_goes_on_from_it(tmp_path: Path, whom: str):
    settings = {**STEPS, "checkpoints.every_steps": 1000}
    code, errors = interrupt(tmp_path, 5, whom, settings)
    assert code == 75
    assert "stopped on request at step" in errors
    stopped_at = last_step(tmp_path)
    assert stopped_at < 40
    run(tmp_path, settings)
    (resumed,) = EventLog(tmp_path / "events.jsonl").of_kind(TrainResumed)
    assert resumed.step == stopped_at


def test_a_training_that_was_cut_off_goes_on_with_another_length_and_its_checkpoint_says_so(tmp_path: Path):
    settings = {**STEPS, "checkpoints.every_steps": 100}
    code, _ = interrupt(tmp_path, 9, "a stop", settings)
    assert code == 75
    stopped = last_step(tmp_path)
    longer = {**settings, "length.steps": 44}
    words = "config training.length.steps 40 -> 44"
    with pytest.raises(UserError, match=rf"at step {stopped}, .*: {words}\n.*on_change=anew"):
        run(tmp_path, {**longer, "on_change": "refuse"})
    made = run(tmp_path, longer)
    log = EventLog(tmp_path / "events.jsonl")
    assert [event.step for event in log.of_kind(TrainResumed)] == [stopped]
    assert [(event.step, event.changes) for event in log.of_kind(TrainingChanged)] == [(stopped, [words])]
    told = json.loads(made.file("training.json").read_text())
    assert (told["steps"], told["changes"]) == (44, [{"step": stopped, "changes": [words]}])


def test_other_ranks_and_another_backend_go_on_with_the_same_losses(tmp_path: Path):
    """2 ranks of DDP, then 4 of ZeRO-3, then 1 of FSDP: the same batches, and the losses of 2 ranks to rounding."""
    settings = {"length.steps": 90, "checkpoints.every_steps": 100, "validation.every_steps": 100}
    undisturbed = losses(run(tmp_path / "whole", settings))
    folder = tmp_path / "moved"
    for step, parallel in ((9, {}), (18, {"processes": 4, "backend": {"name": "deepspeed", "zero_stage": 3}})):
        code, errors = interrupt(folder, step, "a stop", settings | {f"parallel.{k}": v for k, v in parallel.items()})
        assert code == 75, errors
    made = run(folder, settings | {"parallel.processes": 1, "parallel.backend": {"name": "fsdp"}})
    assert losses(made) == pytest.approx(undisturbed, rel=1e-5)
    changes = json.loads(made.file("training.json").read_text())["changes"]
    for change, words in zip(changes, ("2 -> 4", "4 -> 1"), strict=True):
        assert f"config training.parallel.processes {words}" in change["changes"]


def losses(checkpoint: Manifest) -> list[float]:
    """The loss of every step."""
    lines = map(json.loads, checkpoint.file("history.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_a_killed_torchrun_tells_the_user_to_run_again_and_the_next_call_goes_on(tmp_path: Path):
    code, errors = interrupt(tmp_path, 5, "torchrun", STEPS)
    assert code == 75
    assert "error: torchrun, which watches the ranks of the training, was killed (SIGKILL)\n" in errors
    assert "Run the same command to go on." in errors
    assert "Traceback" not in errors
    run(tmp_path, STEPS)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("backend", ["torch", "deepspeed"])
def test_a_fault_of_one_rank_is_shown_with_the_last_lines_of_that_rank(tmp_path: Path, backend: str, rank: int):
    faulty = [{"name": "tests.cases.faulty_callback:Faulty", "rank": rank, "ours": True}]
    settings = {"parallel.backend": {"name": backend}, "callbacks": faulty}
    with pytest.raises(
        RuntimeError, match=rf"rank {rank} of the training failed; (.|\n)*'str' object has no attribute"
    ):
        run(tmp_path, settings)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_in_a_callback_of_the_user_is_told_with_its_file_and_line(tmp_path: Path, rank: int):
    faulty = [{"name": "tests.cases.faulty_callback:Faulty", "rank": rank}]
    settings = {"parallel.backend": {"name": "torch"}, "callbacks": faulty}
    words = rf"failed: ValueError: boom on rank {rank} \(.*/tests/cases/faulty_callback.py, line \d+\)\n"
    with pytest.raises(UserError, match=words):
        run(tmp_path, settings)


def test_what_the_working_directory_and_another_torchrun_left_does_not_reach_the_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("random.py", "tokenize.py", "llm/__init__.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("raise SystemExit('the working directory was imported')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PET_NNODES", "2")  # of which the second would never come
    assert run(tmp_path, {"length.steps": 2}).counts["steps"] == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The store on a disk of its own, with room for two checkpoints but not for three."""
    place = tmp_path / "store"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_fills_in_a_checkpoint_keeps_the_last_one_which_is_used_when_there_is_room(small_disk: Path):
    settings = {"checkpoints.every_steps": 3}
    with pytest.raises(UserError, match=r"the disk is full(.|\n)*Complete products are untouched"):
        run(small_disk.parent, settings)
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    run(small_disk.parent, settings)
    (resumed,) = EventLog(small_disk.parent / "events.jsonl").of_kind(TrainResumed)
    assert resumed.step == 6
