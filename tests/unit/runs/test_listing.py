from __future__ import annotations

from datetime import datetime
from pathlib import Path

from click.testing import CliRunner

from llm.cli import cli
from llm.runs import RunFolder, list_runs
from llm.runs.event_kinds import RunFinished, RunStarted, StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.runs.listing import Score
from llm.storage import Recipe, Store
from llm.storage.products import Counts, EvaluationCounts, GateCounts, MetricKind

EARLIER = {"bits_per_byte": 2.1, "bits_per_byte/code": 1.9, "tokens": 9}
"""Figures of a version that did not say which of them are metrics."""


def finish(folder: RunFolder, store: Store, step: str, counts: Counts) -> None:
    with store.stage(counts.kind, Recipe(step, {})) as stage:
        folder.keep(step, stage.commit(counts))
    EventLog(folder.events).emit(StepStarted(step=step))
    EventLog(folder.events).emit(StepFinished(step=step, seconds=1.0, reused=False))


def test_a_finished_run_shows_its_verdict_and_what_was_measured(tmp_path: Path, store: Store):
    folder = RunFolder(tmp_path / "runs" / "a")
    log = EventLog(folder.events)
    log.emit(RunStarted())
    metrics = {"bits_per_byte": MetricKind(unit="bits per byte", better="lower"),
               "accuracy": MetricKind(unit="share", better="higher")}  # fmt: skip
    figures = {"bits_per_byte": 2.1, "accuracy": 0.3, "tokens": 9}
    finish(folder, store, "evaluate", EvaluationCounts(figures=figures, metrics=metrics))
    finish(folder, store, "gate", GateCounts(verdict="PASS", passed=1))
    log.emit(RunFinished(exit_code=0, seconds=7.0))
    (run,) = list_runs(tmp_path / "runs")
    assert (run.name, run.state, run.verdict, run.seconds) == ("a", "finished", "PASS", 7.0)
    assert run.metrics == {"bits_per_byte": Score(2.1, "bits per byte"), "accuracy": Score(0.3, "share")}
    assert run.started is not None
    assert datetime.fromisoformat(run.started).tzinfo is not None


def test_a_log_that_is_damaged_or_no_file_does_not_hide_the_other_runs(tmp_path: Path):
    EventLog(tmp_path / "whole" / "events.jsonl").emit(RunStarted())
    EventLog(tmp_path / "of-no-time" / "events.jsonl").emit(RunStarted(time=1e300))
    (tmp_path / "of-a-folder" / "events.jsonl").mkdir(parents=True)
    (tmp_path / "of-a-link").mkdir()
    (tmp_path / "of-a-link" / "events.jsonl").symlink_to("not-synced-yet")
    found = {run.name: run.started for run in list_runs(tmp_path)}
    assert sorted(found) == ["of-no-time", "whole"]
    assert found["of-no-time"] is None


def test_figures_of_an_earlier_attempt_are_not_shown_as_this_ones(tmp_path: Path, store: Store):
    folder = RunFolder(tmp_path / "runs" / "a")
    finish(folder, store, "evaluate", EvaluationCounts(figures={"bits_per_byte": 2.1}))
    EventLog(folder.events).emit(RunStarted())
    (run,) = list_runs(tmp_path / "runs")
    assert (run.state, run.metrics) == ("interrupted", {})


def test_a_run_of_an_earlier_version_shows_its_metric_without_a_unit(tmp_path: Path, store: Store):
    folder = RunFolder(tmp_path / "runs" / "a")
    EventLog(folder.events).emit(RunStarted())
    finish(folder, store, "evaluate", EvaluationCounts(figures=EARLIER))
    (run,) = list_runs(tmp_path / "runs")
    assert run.metrics == {"bits_per_byte": Score(2.1, None)}


def test_a_damaged_run_hides_neither_itself_nor_the_others(tmp_path: Path, store: Store):
    for name in ("a", "b"):
        folder = RunFolder(tmp_path / "runs" / name)
        EventLog(folder.events).emit(RunStarted())
        finish(folder, store, "evaluate", EvaluationCounts(figures=EARLIER))
    folder.manifest_path("evaluate").write_text("{")
    with folder.events.open("ab") as file:
        file.write(b"\0\xff\n[1]\n")
    found = {run.name: run.metrics for run in list_runs(tmp_path / "runs")}
    assert found == {"a": {"bits_per_byte": Score(2.1, None)}, "b": {}}


def test_the_folder_of_the_runs_may_be_a_uri(tmp_path: Path):
    EventLog(RunFolder(tmp_path / "my runs" / "a").events).emit(RunStarted())
    listed = CliRunner().invoke(cli, ["runs", "--runs", (tmp_path / "my runs").as_uri()])
    assert listed.exit_code == 0, listed.output
    assert listed.output.splitlines()[1].split()[:2] == ["a", "interrupted"]


def test_a_folder_without_runs_lists_none(tmp_path: Path):
    assert list_runs(tmp_path / "nothing") == []
