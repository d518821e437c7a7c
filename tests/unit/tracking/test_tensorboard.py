"""TensorBoard's event file: the bytes that its own writer makes, and each step once whatever happens."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from llm.config import TrackingConfig
from llm.runs import RunFolder
from llm.runs.event_kinds import CheckpointSaved, Event, MetricMeasured, RunStarted, TrainPlan, TrainStep, Warned
from llm.runs.events import EventLog
from llm.tracking.sink import Delivery, find_sinks
from llm.tracking.sinks.tensorboard import TensorBoardSink
from llm.tracking.tfevents import begins_again, header, scalar

OF_TENSORBOARD = (
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c220000000000000078113dfd0900000000"
    "0000044010ac022a140a120a0b747261696e2f6cc3b6737315fa7e3a404465352d100000000000000095fbfe18090000000000000c40108101"
    "3a0208012375919c"
)
"""Three records that the RecordWriter of TensorBoard 2.21.0 wrote from its own protocol buffers."""


def plan(start: int) -> TrainPlan:
    return TrainPlan(
        time=9.0 + start, steps=6, start=start, tokens_per_step=8, parameters=9, world_size=1, backend="torch"
    )


def steps(first: int, last: int) -> list[Event]:
    return [TrainStep(time=10.0 + step, step=step, steps=6, loss=first + step / 10) for step in range(first, last + 1)]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    for event in (RunStarted(time=1.0), plan(0), *steps(1, 4)):
        EventLog(folder.events).emit(event)
    return folder


def delivered(folder: RunFolder) -> bytes:
    sink = TensorBoardSink(folder, TrackingConfig())
    assert sink.deliver().error is None
    return sink.path.read_bytes()


def records(*events: Event) -> bytes:
    """The file as these events make it."""
    parts = [header(9.0)]
    for event in events:
        if isinstance(event, TrainPlan):
            parts.append(begins_again(event.time, event.start + 1))
        elif isinstance(event, TrainStep):
            parts.append(scalar(event.time, event.step, "train/loss", event.loss))
    return b"".join(parts)


def test_the_bytes_are_those_of_tensorboards_own_writer():
    ours = header(1.5) + scalar(2.5, 300, "train/löss", 2.914) + begins_again(3.5, 129)
    assert ours.hex() == OF_TENSORBOARD


def test_a_number_that_is_none_or_too_large_is_written():
    for value in (math.nan, math.inf, -math.inf, 1e300, -1e300):
        assert len(scalar(1.0, 1, "x", value)) == len(scalar(1.0, 1, "x", 0.0))
    assert scalar(1.0, 1, "x", 1e300) == scalar(1.0, 1, "x", math.inf)


def test_it_is_found_by_its_name_and_needs_no_package():
    assert find_sinks(["tensorboard"]) == [TensorBoardSink]
    assert TensorBoardSink.package is None


def test_the_curves_are_written_and_nothing_else(folder: RunFolder):
    EventLog(folder.events).emit(Warned(time=20.0, message="é"))
    assert delivered(folder) == records(plan(0), *steps(1, 4))
    for event in (CheckpointSaved(time=21.0, step=4, seconds=0.5), MetricMeasured(time=22.0, name="test/x", value=2)):
        EventLog(folder.events).emit(event)
    more = scalar(21.0, 4, "checkpoint/seconds", 0.5) + scalar(22.0, 0, "test/x", 2.0)
    assert delivered(folder) == records(plan(0), *steps(1, 4)) + more


def test_a_training_that_goes_on_lets_the_reader_forget_the_steps_after_it(folder: RunFolder):
    delivered(folder)
    for event in (plan(2), *steps(3, 6)):
        EventLog(folder.events).emit(event)
    expected = records(plan(0), *steps(1, 4), plan(2), *steps(3, 6))
    assert delivered(folder) == expected
    assert begins_again(11.0, 3) in expected


def test_an_event_that_comes_again_after_a_crash_is_there_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    def dies(self: TensorBoardSink, offset: int) -> None:
        raise KeyboardInterrupt

    delivered(folder)
    for event in steps(5, 6):
        EventLog(folder.events).emit(event)
    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardSink, "_keep", dies)
        with pytest.raises(KeyboardInterrupt):
            TensorBoardSink(folder, TrackingConfig()).deliver()
    assert delivered(folder) == records(plan(0), *steps(1, 4), *steps(5, 6))


def test_a_log_that_was_put_together_again_and_a_file_that_is_gone_are_written_from_the_beginning(folder: RunFolder):
    whole = delivered(folder)
    first, *rest = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join([*rest, first]))
    assert delivered(folder) == whole
    TensorBoardSink(folder, TrackingConfig()).path.unlink()
    assert delivered(folder) == whole
    assert TensorBoardSink(folder, TrackingConfig()).deliver() == Delivery(sent=0, pending=0)


def test_tensorboard_reads_each_step_once(folder: RunFolder):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed: nothing needs it",
    )
    delivered(folder)
    for event in (plan(2), *steps(3, 6)):
        EventLog(folder.events).emit(event)
    delivered(folder)
    read = accumulator.EventAccumulator(str(folder.path / "tensorboard")).Reload()
    found = [(one.step, pytest.approx(one.value)) for one in read.Scalars("train/loss")]
    assert found == [(1, 1.1), (2, 1.2), (3, 3.3), (4, 3.4), (5, 3.5), (6, 3.6)]
