"""Steps that share no disk see one run's folder."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from llm.errors import ServiceError
from llm.runs import mirror
from llm.runs.event_kinds import StepFailed, StepFinished, StepStarted, TrainStep
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.runs.mirror import mirrored
from llm.storage import LocalObjects, Manifest

MANIFEST = Manifest(kind="corpus", id="0" * 16, uri="s3://bucket/x", files=())

PATIENCE_SECONDS = 30


@pytest.fixture
def home(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "store" / "runs" / "one")


def pod(tmp_path: Path, name: str) -> tuple[RunFolder, EventLog]:
    folder = RunFolder(tmp_path / name / "one")
    return folder, EventLog(folder.events)


def fail(tmp_path: Path, home: LocalObjects) -> None:
    folder, log = pod(tmp_path, "failing")
    with mirrored(folder, home, "ingest"):
        log.emit(StepFailed(step="ingest"))
        raise RuntimeError("boom")


def succeed(tmp_path: Path, home: LocalObjects) -> None:
    folder, log = pod(tmp_path, "good")
    with mirrored(folder, home, "ingest"):
        log.emit(StepFinished(step="ingest"))


def test_a_step_sees_what_the_steps_before_it_left(tmp_path: Path, home: LocalObjects):
    first, log = pod(tmp_path, "first")
    with mirrored(first, home, "ingest"):
        log.emit(StepStarted(step="ingest"))
        first.keep("ingest", MANIFEST)
        first.write_config("a: 1\n")
    second, log = pod(tmp_path, "second")
    with mirrored(second, home, "validate"):
        assert [event.step for event in log.of_kind(StepStarted)] == ["ingest"]
        assert second.manifests() == {"ingest": MANIFEST}
        assert second.config.read_text() == "a: 1\n"
        log.emit(StepStarted(step="validate"))
    third, log = pod(tmp_path, "third")
    with mirrored(third, home, "report"):
        assert [event.step for event in log.of_kind(StepStarted)] == ["ingest", "validate"]


def test_what_mlflow_was_told_is_known_to_the_next_step_though_this_one_fails(tmp_path: Path, home: LocalObjects):
    first, _ = pod(tmp_path, "first")
    first.tracking.mkdir(parents=True)
    (first.tracking / "server.json").write_text("{}")
    with pytest.raises(RuntimeError), mirrored(first, home, "train"):
        raise RuntimeError
    second, _ = pod(tmp_path, "second")
    with mirrored(second, home, "report"):
        assert (second.tracking / "server.json").read_text() == "{}"


def test_a_step_that_fails_leaves_its_events(tmp_path: Path, home: LocalObjects):
    with pytest.raises(RuntimeError, match="boom"):
        fail(tmp_path, home)
    folder, log = pod(tmp_path, "second")
    with mirrored(folder, home, "report"):
        assert log.of_kind(StepFailed)


def test_events_are_there_while_a_step_goes_on(tmp_path: Path, home: LocalObjects, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mirror, "FLUSH_SECONDS", 0.01)
    folder, log = pod(tmp_path, "first")
    with mirrored(folder, home, "train"):
        log.emit(TrainStep(step=1, steps=2, loss=3.0))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not home.names("events/"):
            assert time.monotonic() < deadline, "nothing was written"
            time.sleep(0.005)
    assert len(home.names("events/")) == 1, "the part is written over, not again"


class SlowOnce(LocalObjects):
    """The first write arrives when a second one has, or when there is none."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.overtaken = threading.Event(), threading.Event()

    def write(self, name: str, content: bytes, *, if_absent: bool = False) -> bool:
        if self.begun.is_set():
            written = super().write(name, content, if_absent=if_absent)
            self.overtaken.set()
            return written
        self.begun.set()
        self.overtaken.wait(0.2)
        return super().write(name, content, if_absent=if_absent)


def test_a_slow_write_of_what_was_so_far_does_not_land_on_the_end(
    tmp_path: Path, home: LocalObjects, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mirror, "FLUSH_SECONDS", 0.01)
    slow = SlowOnce(home.root)
    folder, log = pod(tmp_path, "first")
    with mirrored(folder, slow, "train"):
        log.emit(StepStarted(step="train"))
        assert slow.begun.wait(PATIENCE_SECONDS)
        log.emit(StepFinished(step="train"))
    for thread in threading.enumerate():
        if thread.name == "run-mirror":
            thread.join(PATIENCE_SECONDS)
    (part,) = home.names("events/")
    assert b"step_finished" in (home.read(part) or b"")


def test_a_store_that_refuses_at_the_end_fails_a_step_that_went_well_and_hides_no_error_of_one_that_did_not(
    tmp_path: Path, home: LocalObjects, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> bool:
        raise ServiceError("S3 went away")

    monkeypatch.setattr(LocalObjects, "write", refuse)
    with pytest.raises(ServiceError, match="S3 went away"):
        succeed(tmp_path, home)
    with pytest.raises(RuntimeError, match="boom"):
        fail(tmp_path, home)
