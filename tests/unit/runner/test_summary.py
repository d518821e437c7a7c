"""The last lines of a run say what it made and what it took; what is unknown is n/a."""

from __future__ import annotations

import json
from pathlib import Path

from llm.config import CostsConfig, RunConfig, to_yaml
from llm.runner.local import RunOutcome
from llm.runner.summary import summary
from llm.runs.event_kinds import PodUsed, StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.storage import Recipe, Store

ROW = {
    "value": 1.9,
    "low": 1.8,
    "high": 2.0,
    "references": {"gzip": 2.1, "xz": 1.95},
    "items": 30,
}


def outcome(folder: RunFolder, **changes) -> RunOutcome:
    values = {
        "folder": folder, "exit_code": 0, "message": None, "seconds": 200.0,
        "step_seconds": {"register": 10.0, "train": 180.0}, "reused": (), "peak_memory_bytes": 3 * 2**30,
    }  # fmt: skip
    return RunOutcome(**(values | changes))


def test_every_metric_has_a_table_with_its_interval_and_its_references(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    with Store(tmp_path / "store").stage("evaluation", Recipe("evaluate", {})) as stage:
        bits = {
            "unit": "bits per byte",
            "item": "document",
            "overall": ROW,
            "domains": {"code": ROW | {"low": None, "high": None, "references": {"gzip": None, "xz": 1.9}}},
        }
        accuracy = {"unit": "share", "item": "question", "overall": ROW | {"references": {}}, "domains": {}}
        scores = {"intervals": {"confidence": 0.9}, "metrics": {"bits_per_byte": bits, "accuracy": accuracy}}
        (stage.path / "summary.json").write_text(json.dumps(scores))
        folder.keep("evaluate", stage.commit())
    assert not any("overall" in line for line in summary(outcome(folder)))  # an earlier attempt's
    EventLog(folder.events).emit(StepStarted(step="evaluate"))
    EventLog(folder.events).emit(StepFinished(step="evaluate", seconds=1.0))
    lines = summary(outcome(folder))
    assert lines[0] == "held-out bits per byte     model    90 % interval      gzip      xz  documents"
    assert lines[1].split() == ["overall", "1.900", "[1.800,", "2.000]", "2.100", "1.950", "30"]
    assert lines[2].split() == ["code", "1.900", "n/a", "n/a", "1.900", "30"]
    assert lines[3].split() == ["held-out", "accuracy", "(share)", "model", "90", "%", "interval", "questions"]
    assert lines[4].split() == ["overall", "1.900", "[1.800,", "2.000]", "30"]


def test_time_training_share_memory_and_overhead_are_told(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for step, reused in (("ingest", True), ("train", False)):
        EventLog(folder.events).emit(StepStarted(step=step, time=1000.0))
        EventLog(folder.events).emit(StepFinished(step=step, seconds=180.0, reused=reused, time=1200.0))
    text = "\n".join(summary(outcome(folder)))
    assert "time 3 min 20 s\n  train 3 min\nreused: ingest\n" in text
    assert "training took 90 % of the time; peak memory 3 GiB" in text
    assert "5.00 s a step (budget 1.5 s)" in text
    assert "next: gristmill generate" in text


def test_what_all_attempts_used_is_told_with_its_cost(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    for started in (0.0, 9000.0):
        EventLog(folder.events).emit(PodUsed(step="train", started=started, ended=started + 1800, cpu=2.0))
    assert "used 2 CPU-hours, over all attempts" in summary(outcome(folder))
    folder.write_config(to_yaml(RunConfig(costs=CostsConfig(cpu_hour=0.04, currency="EUR"))))
    assert "used 2 CPU-hours: 0.08 EUR, over all attempts" in summary(outcome(folder))


def test_what_is_unknown_is_not_made_up(tmp_path: Path):
    text = "\n".join(summary(outcome(RunFolder(tmp_path), step_seconds={}, peak_memory_bytes=None, exit_code=2)))
    assert "peak memory n/a" in text
    assert "a step" not in text
    assert "next:" not in text
    assert "used" not in text
