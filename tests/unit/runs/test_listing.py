from __future__ import annotations

from datetime import datetime
from pathlib import Path

from llm.runs import RunFolder, list_runs
from llm.runs.event_kinds import RunFinished, RunStarted, StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.storage import Recipe, Store


def finish(folder: RunFolder, store: Store, step: str, counts: dict[str, object]) -> None:
    with store.stage(step, Recipe(step, {})) as stage:
        stage.commit(counts).write(folder.manifest_path(step))
    EventLog(folder.events).emit(StepStarted(step=step))
    EventLog(folder.events).emit(StepFinished(step=step, seconds=1.0, reused=False))


def test_a_finished_run_shows_its_verdict_and_bits_per_byte(tmp_path: Path, store: Store):
    folder = RunFolder(tmp_path / "runs" / "a")
    log = EventLog(folder.events)
    log.emit(RunStarted())
    finish(folder, store, "evaluate", {"bits_per_byte": 2.1})
    finish(folder, store, "gate", {"verdict": "PASS"})
    log.emit(RunFinished(exit_code=0, seconds=7.0))
    (run,) = list_runs(tmp_path / "runs")
    assert (run.name, run.state, run.verdict, run.bits_per_byte, run.seconds) == ("a", "finished", "PASS", 2.1, 7.0)
    assert run.started is not None
    assert datetime.fromisoformat(run.started).tzinfo is not None


def test_figures_of_an_earlier_attempt_are_not_shown_as_this_ones(tmp_path: Path, store: Store):
    folder = RunFolder(tmp_path / "runs" / "a")
    finish(folder, store, "evaluate", {"bits_per_byte": 2.1})
    EventLog(folder.events).emit(RunStarted())
    (run,) = list_runs(tmp_path / "runs")
    assert (run.state, run.bits_per_byte) == ("interrupted", None)


def test_a_damaged_run_hides_neither_itself_nor_the_others(tmp_path: Path, store: Store):
    for name in ("a", "b"):
        folder = RunFolder(tmp_path / "runs" / name)
        EventLog(folder.events).emit(RunStarted())
        finish(folder, store, "evaluate", {"bits_per_byte": 2.1})
    folder.manifest_path("evaluate").write_text("{")
    with folder.events.open("ab") as file:
        file.write(b"\0\xff\n[1]\n")
    assert {(run.name, run.bits_per_byte) for run in list_runs(tmp_path / "runs")} == {("a", 2.1), ("b", None)}


def test_a_folder_without_runs_lists_none(tmp_path: Path):
    assert list_runs(tmp_path / "nothing") == []
