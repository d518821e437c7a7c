"""The guards: spikes are skipped alike after a resume, a divergence names its documents, a hang its rank."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from llm.config import compose, deciding
from llm.config.sections.training.guards import GuardsConfig
from llm.errors import UserError
from llm.runs.event_kinds import TrainingDiverged, TrainingHangs, TrainResumed, UpdateSkipped
from llm.runs.events import EventLog
from llm.storage import LocalObjects
from llm.training.callbacks import Callback
from llm.training.checkpoint.find import newest_checkpoint
from llm.training.guards.hang import Watch
from llm.training.guards.spikes import Spikes
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
GUARDS = {"guards": {"spike_deviations": 4.0, "spike_window": 4, "stop_after_spikes": 2}}


class Weights(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.after: dict[int, dict[str, torch.Tensor]] = {}

    def step_ended(self, trainer: Trainer, done) -> None:
        self.after[done.number] = {name: one.clone() for name, one in trainer.backend.weights().items()}


def with_spikes(trainer: Trainer, *steps: int) -> Weights:
    """Make the gradients of these steps (from 0) a thousand times as large; returns who keeps the weights."""
    inner, weights = trainer.begin, Weights()
    now = [0]

    def step(number: int, of: int):
        now[0] = number
        return inner(number, of)

    def forward(module: object, inputs: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * 1000 if now[0] in steps else gradient)

    trainer.begin = step  # type: ignore[method-assign]
    trainer.model.model.norm.register_forward_hook(forward)
    trainer.callbacks.insert(0, weights)
    return weights


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_the_update_of_a_spike_is_skipped_and_told(make_trainer: Make, backend: str):
    trainer = make_trainer({**GUARDS, "parallel.backend": {"name": backend}})
    weights = with_spikes(trainer, 6)
    trainer.train(8)
    for name, after in weights.after[7].items():
        assert torch.equal(after, weights.after[6][name])
        assert not torch.equal(weights.after[8][name], after)
    (event,) = trainer.log.of_kind(UpdateSkipped)
    assert (event.step, event.in_a_row) == (7, 1)
    assert event.grad_norm > event.grad_norm_limit > 0
    assert event.loss < event.loss_limit
    assert [line["step"] for line in trainer.history if line.get("skipped")] == [7]


def test_without_the_guard_the_update_of_a_spike_is_made(make_trainer: Make):
    trainer = make_trainer()
    weights = with_spikes(trainer, 6)
    trainer.train(8)
    assert any(not torch.equal(after, weights.after[6][name]) for name, after in weights.after[7].items())


def test_a_training_that_continues_judges_as_the_one_that_went_straight_on(
    make_trainer: Make, workspace: LocalObjects, tmp_path: Path
):
    """The spike comes right after the resume: without the steps before it nothing could be judged."""
    settings = {**GUARDS, "checkpoints.every_steps": 6}
    straight = make_trainer(settings)
    whole = with_spikes(straight, 6)
    straight.train(12)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    workspace.remove(f"{newest.name}/files.json")
    resumed = make_trainer(settings)
    again = with_spikes(resumed, 6)
    resumed.train(12)
    assert [event.step for event in EventLog(tmp_path / "events.jsonl").of_kind(TrainResumed)] == [6]
    assert resumed.history == straight.history
    assert all(torch.equal(one, whole.after[12][name]) for name, one in again.after[12].items())
    first, second = straight.log.of_kind(UpdateSkipped)
    assert first.model_copy(update={"time": 0.0}) == second.model_copy(update={"time": 0.0})


def test_spikes_in_a_row_end_the_training_with_a_checkpoint_from_before_them(
    make_trainer: Make, workspace: LocalObjects
):
    trainer = make_trainer({**GUARDS, "checkpoints.every_steps": 100})
    with_spikes(trainer, 6, 7)
    with pytest.raises(UserError, match=r"2 spikes in a row, up to step 8: their updates were skipped"):
        trainer.train(12)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    assert newest.state().step == 8
    again = make_trainer({**GUARDS, "checkpoints.every_steps": 100})
    with_spikes(again, 9)
    again.train(12)
    assert [line["step"] for line in again.history if line.get("skipped")] == [7, 8], "a new window has too few steps"


def test_a_spike_of_the_loss_alone_counts_and_a_number_that_is_none_does_not():
    spikes = Spikes(GuardsConfig(spike_deviations=2.0, spike_window=4))
    assert not spikes.is_spike(1e9, 1e9), "nothing is known yet"
    for loss in (1.0, 1.2):
        spikes._take(loss, 1.0 + loss, is_spike=False)
    assert spikes.limits() == pytest.approx((1.3, 2.3))
    assert spikes.is_spike(1.31, 2.0)
    assert spikes.is_spike(1.0, 2.31)
    assert not spikes.is_spike(1.29, 2.29)
    assert not spikes.is_spike(math.nan, 9.0)


def test_a_backend_that_does_not_ask_before_its_update_is_refused_with_the_guard():
    setting = "training.guards.spike_deviations=6"
    with pytest.raises(
        UserError, match=r"spike_deviations=6 with training.parallel.backend.name=deepspeed: this backend"
    ):
        compose([setting, "training.parallel.backend.name=deepspeed"])
    assert compose([setting, "training.parallel.backend.name=torch"]).training.guards.spike_deviations == 6


def test_the_guard_against_hangs_is_in_no_recipe():
    guarded = compose(["training.guards.hang_seconds=7"]).training
    assert deciding(guarded) == deciding(compose([]).training)


def test_a_divergence_names_windows_and_documents_of_the_batch(make_trainer: Make):
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(float("nan"))
    windows = [int(one) for one in trainer.loader.indices(0)]
    with pytest.raises(UserError, match=rf"rank 0 had, of the train split:\n  window {windows[0]}, tokens"):
        trainer.train(12)
    (event,) = trainer.log.of_kind(TrainingDiverged)
    assert (event.step, event.what, event.ranks, event.windows) == (1, "loss", [0], windows)
    assert event.domains == ["made-up"]
    starts = trainer.shards.document_offsets("train")
    touched = {
        document
        for document, (start, end) in enumerate(itertools.pairwise(starts))
        for window in windows
        if start < (window + 1) * 16 + 1 and end > window * 16
    }
    assert event.documents == sorted(touched)


@pytest.fixture
def rank(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers with its stacks, as rank 3."""
    code = (
        "import sys, time; from pathlib import Path; from llm.training.guards.hang import answer_with_stacks\n"
        "answer_with_stacks(Path(sys.argv[1]), 3)\nprint('ready', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def beat(folder: Path, pid: int, step: int) -> None:
    (folder / "beat-3.json").write_text(f"[{pid}, {step}]")


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_hang_is_told_once_with_the_stacks_or_the_state_of_each_rank(
    rank: subprocess.Popen[bytes], tmp_path: Path, is_stopped: bool
):
    (tmp_path / "beat-9.json").write_text("[1, 1]")  # of an earlier attempt
    events, log = EventLog(tmp_path / "events.jsonl"), tmp_path / "workers.log"
    watch = Watch(tmp_path, log, 0.2, events)
    assert rank.stdout is not None
    assert rank.stdout.readline() == b"ready\n"
    assert not watch.look(), "no beat, no hang"
    beat(tmp_path, rank.pid, 7)
    assert not watch.look()
    if is_stopped:
        os.kill(rank.pid, signal.SIGSTOP)
    time.sleep(0.3)
    assert not watch.look() or is_stopped
    time.sleep(0.3)
    assert watch.look() == is_stopped, "a rank that answers may go on"
    (event,) = events.of_kind(TrainingHangs)
    assert event.step == 7
    assert event.silent == watch.silent == (["rank 3 is stopped (SIGSTOP)"] if is_stopped else [])
    assert ("time.sleep" in log.read_text() or "<string>" in log.read_text()) != is_stopped
    beat(tmp_path, rank.pid, 8)
    assert not watch.look()
    assert watch.silent == []


def test_a_pause_of_the_parent_itself_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("llm.training.guards.hang.time.monotonic", lambda: now[0])
    events = EventLog(tmp_path / "events.jsonl")
    watch = Watch(tmp_path, tmp_path / "workers.log", 60.0, events)
    beat(tmp_path, os.getpid(), 1)
    assert not watch.look()
    now[0] += 3600
    assert not watch.look()
    assert not events.of_kind(TrainingHangs)


def test_twenty_usual_steps_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr("llm.training.guards.hang.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Watch, "_ask", lambda self, found: [])
    events = EventLog(tmp_path / "events.jsonl")
    watch = Watch(tmp_path, tmp_path / "workers.log", 1.0, events)
    for step in range(5):
        beat(tmp_path, os.getpid(), step)
        watch.look()
        now[0] += 3
    for _ in range(28):  # from 3 s after the last step to 57 s
        watch.look()
        now[0] += 2
    assert not events.of_kind(TrainingHangs)
    now[0] += 3
    watch.look()
    (event,) = events.of_kind(TrainingHangs)
    assert event.seconds > 60
