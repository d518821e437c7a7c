"""TensorBoard as a sink: the curves of a run as an event file in its folder, for `tensorboard --logdir runs`.

The file needs no library. How many bytes of it are sure stands with the place in the event log, so an event that comes
again after a crash replaces what it left. A training that goes on from step k tells the reader to forget the steps
after k.
"""

from __future__ import annotations

from pathlib import Path

from llm.runs.event_kinds import CheckpointSaved, Event, MetricMeasured, TrainPlan, TrainStep, TrainValidation
from llm.tracking.points import points
from llm.tracking.sink import EventSink
from llm.tracking.tfevents import begins_again, header, scalar

FOLDER, FILE = "tensorboard", "events.out.tfevents.gristmill"
BYTES = "bytes"
CURVES = (TrainStep, TrainValidation, CheckpointSaved, MetricMeasured)


class TensorBoardSink(EventSink):
    """The same numbers by the same names as in MLflow."""

    name = "tensorboard"
    is_live = True

    @property
    def path(self) -> Path:
        """The event file."""
        return self.folder.path / FOLDER / FILE

    def is_intact(self) -> bool:
        """Whether the file has all that was taken: somebody may have removed it."""
        sure: int = self.state.get(BYTES, 0)
        return (self.path.stat().st_size if self.path.is_file() else 0) >= sure

    def take(self, event: Event) -> None:
        """Append its numbers, after what is sure."""
        if isinstance(event, TrainPlan):
            records = begins_again(event.time, event.start + 1)
        elif isinstance(event, CURVES):
            records = b"".join(scalar(event.time, point.step, point.name, point.value) for point in points(event))
        else:
            return
        sure = self.state.get(BYTES, 0)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(sure)
            file.seek(sure)
            file.write((b"" if sure else header(event.time)) + records)
            self.state[BYTES] = file.tell()


SINK = TensorBoardSink
