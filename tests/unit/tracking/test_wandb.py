"""Weights & Biases: each step once, whatever happens to the training; its package is needed only by who names it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llm.config import RunConfig, TrackingConfig, to_yaml
from llm.errors import UserError
from llm.runs import RunFolder
from llm.runs.event_kinds import Event, RunFinished, TrainPlan, TrainStep, TrainValidation
from llm.runs.events import EventLog
from llm.tracking import sink as sinks
from llm.tracking.sink import find_sinks
from llm.tracking.sinks import wandb as module
from llm.tracking.sinks.wandb import WandbSink


class FakeRun:
    """What W&B keeps of a run."""

    def __init__(self, **given: Any) -> None:
        self.given, self.rows, self.summary, self.ended = given, list[dict[str, float]](), dict[str, float](), None

    def define_metric(self, *arguments: object, **options: object) -> None: ...

    def log(self, values: dict[str, float]) -> None:
        self.rows.append(values)

    def finish(self, exit_code: int | None) -> None:
        self.ended = exit_code


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs that a module in the place of `wandb` made."""
    runs: list[FakeRun] = []

    def init(**given: Any) -> FakeRun:
        runs.append(FakeRun(**given))
        return runs[-1]

    fake = ModuleType("wandb")
    fake.__spec__ = ModuleSpec("wandb", None)
    fake.init, fake.Settings = init, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(module, "_runs", {})
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return runs


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.write_config(to_yaml(RunConfig()))
    return folder


def tell(folder: RunFolder, *events: Event) -> None:
    for event in events:
        EventLog(folder.events).emit(event)


def plan(start: int) -> TrainPlan:
    return TrainPlan(steps=6, start=start, tokens_per_step=8, parameters=9, world_size=1, backend="torch")


def steps(first: int, last: int, loss: float = 2.0) -> list[Event]:
    return [TrainStep(step=step, steps=6, loss=loss) for step in range(first, last + 1)]


def test_a_run_there_has_the_name_the_settings_and_the_numbers_of_the_run_here(folder: RunFolder, made: list[FakeRun]):
    tell(folder, plan(0), *steps(1, 2), TrainValidation(step=2, loss=1.5), RunFinished(exit_code=75, seconds=3.0))
    assert WandbSink(folder, TrackingConfig(experiment="ours")).finish(75).error is None
    (run,) = made
    assert (run.given["project"], run.given["name"], run.given["resume"]) == ("ours", "one", "allow")
    assert run.given["config"]["training.optimizer.lr"] == "0.003"
    assert [(row["step"], row.get("train/loss"), row.get("validation/loss")) for row in run.rows] == [
        (1, 2.0, None), (2, 2.0, None), (2, None, 1.5),
    ]  # fmt: skip
    assert (run.summary["train/parameters"], run.summary["seconds/run"], run.ended) == (9, 3.0, 75)


def test_a_training_that_goes_on_sends_no_step_twice_and_stays_one_run_there(
    folder: RunFolder, made: list[FakeRun], monkeypatch: pytest.MonkeyPatch
):
    tell(folder, plan(0), *steps(1, 4))
    WandbSink(folder, TrackingConfig()).deliver()
    monkeypatch.setattr(module, "_runs", {})  # another process
    tell(folder, plan(2), *steps(3, 6, loss=9.0))
    WandbSink(folder, TrackingConfig()).deliver()
    first, second = made
    assert first.given["id"] == second.given["id"]
    assert [row["step"] for run in made for row in run.rows] == [1, 2, 3, 4, 5, 6]


def test_two_sinks_of_one_process_share_the_run(folder: RunFolder, made: list[FakeRun]):
    tell(folder, *steps(1, 2))
    live, last = (WandbSink(folder, TrackingConfig()) for _ in range(2))
    live.deliver()
    last.finish(0)
    assert [(len(run.rows), run.ended) for run in made] == [(2, 0)]


def test_a_training_that_begins_again_gets_another_run_there(folder: RunFolder, made: list[FakeRun]):
    tell(folder, plan(0), *steps(1, 3), plan(0), *steps(1, 2))
    WandbSink(folder, TrackingConfig()).finish(0)
    first, second = made
    assert first.given["id"] != second.given["id"]
    assert [len(first.rows), len(second.rows)] == [3, 2]


def test_a_run_without_numbers_is_not_made_there(folder: RunFolder, made: list[FakeRun]):
    WandbSink(folder, TrackingConfig()).finish(2)
    assert not made


@pytest.mark.parametrize(("mode", "is_live"), [("offline", False), ("online", True), ("disabled", False), ("", True)])
def test_what_is_offline_waits_for_the_end_of_the_run(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, mode: str, is_live: bool
):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert WandbSink(folder, TrackingConfig()).is_live == is_live


def test_without_the_package_it_is_refused_and_with_it_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sinks.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r"wandb needs the package wandb, .* not installed here\n  Run pip install wandb"
    ):
        find_sinks(["wandb"])
    monkeypatch.setattr(sinks.importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    assert find_sinks(["wandb"]) == [WandbSink]


def test_the_real_package_writes_offline(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="the optional package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tell(folder, plan(0), *steps(1, 3))
    assert WandbSink(folder, TrackingConfig()).finish(0).error is None
    (written,) = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"train/loss" in written.read_bytes()
