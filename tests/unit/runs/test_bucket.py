"""Runs in a bucket are read like runs of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.errors import GristmillError
from llm.runs.bucket import runs_to_read
from llm.runs.event_kinds import RunFinished, RunStarted, StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder, all_runs
from llm.runs.mirror import mirrored
from llm.storage import open_objects
from tests.cases import submission


@pytest.fixture
def root(s3: str) -> str:
    """The folder of two runs in S3; `new` has the newest event, and `old` was put there last."""
    for name, time in (("new", 2000.0), ("old", 1000.0)):
        leave(f"{s3}/runs", name, time)
    return f"{s3}/runs"


def leave(root: str, name: str, time: float, *, ended: bool = True) -> None:
    """A run of two steps, each on a machine of its own."""
    for step in ("ingest", "report"):
        with mirrored(RunFolder(Path.cwd() / step / name), open_objects(root).below(name), step) as _:
            log = EventLog(Path.cwd() / step / name / "events.jsonl")
            if step == "ingest":
                log.emit(RunStarted(pipeline="pretrain", kfp_run="1", time=time))
            log.emit(StepStarted(step=step, time=time + 1))
            log.emit(StepFinished(step=step, seconds=1.0, time=time + 2))
            if step == "report" and ended:
                log.emit(RunFinished(exit_code=0, seconds=3.0, time=time + 3))
                (log.path.parent / "report.html").write_text(f"the report of {name}")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))


def test_the_run_with_the_newest_event_is_the_first_whenever_it_was_copied(root: str):
    assert [run.name for run in all_runs(runs_to_read(root))] == ["new", "old"]


def test_a_run_that_was_removed_there_is_not_listed_any_more(root: str):
    runs_to_read(root)
    open_objects(root).remove("old/")
    assert [run.name for run in all_runs(runs_to_read(root))] == ["new"]


def test_only_the_named_run_is_fetched(root: str):
    assert [run.name for run in all_runs(runs_to_read(root, "old"))] == ["old"]
    assert (runs_to_read(root, "old") / "old" / "report.html").read_text() == "the report of old"


def test_a_copy_does_not_touch_what_a_step_works_on(root: str, tmp_path: Path):
    work = tmp_path / "cache" / "runs" / "new"
    work.mkdir(parents=True)
    runs_to_read(root)
    assert list(work.iterdir()) == []


def test_a_bucket_that_is_not_there_is_said(s3_server: str):
    with pytest.raises(GristmillError, match="no-such-bucket"):
        runs_to_read("s3://no-such-bucket/runs")


@pytest.fixture
def gristmill(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints; it must end well."""

    def run(*arguments: str) -> str:
        ended = submission.gristmill(capsys, *arguments)
        assert ended.code == 0, ended.err
        return ended.out

    return run


def test_the_commands_read_them(root: str, s3: str, gristmill: Callable[..., str]):
    for where in ((f"--runs={root}",), (f"storage.uri={s3}",)):
        table = gristmill("runs", *where).splitlines()
        assert [line.split()[:2] for line in table[1:]] == [["new", "finished"], ["old", "finished"]]
    assert json.loads(gristmill("status", "old", f"--runs={root}", "--json"))["steps"][0] == {
        "name": "ingest", "state": "done", "seconds": 1.0,
    }  # fmt: skip
    shown = gristmill("status", "old", f"--runs={root}")
    assert shown.startswith("run old finished after 3 s\n  ingest")
    assert shown.endswith(f"report {root}/old/report.html\n")
    assert "ingest     done in 1 s" in gristmill("logs", "old", f"--runs={root}")
    assert "ingest" not in gristmill("logs", "old", f"--runs={root}", "--step=report")


def test_a_report_is_fetched(root: str, gristmill: Callable[..., str]):
    path = Path(gristmill("report", "old", f"--runs={root}").strip())
    assert path.is_file()
    assert "cache" in path.parts
