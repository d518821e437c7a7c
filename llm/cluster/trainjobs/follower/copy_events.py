"""The lines of a training's log: the run's event log gets the events as they are, stderr gets the text."""

from __future__ import annotations

import json
import sys

from llm.cluster.trainjobs.follower.failure import is_event
from llm.runs.events import EventLog


class CopyEvents:
    """Takes the lines of the log; an event that the run's log has already is not written again.

    A launcher that follows an earlier launcher reads the training's log from its beginning, and the run's log may have
    part of it.
    """

    def __init__(self, log: EventLog, created_at: float | None) -> None:
        """Write to `log`; `created_at` is when we created the TrainJob, in epoch seconds, or None if others did."""
        self._log, self._created_at = log, created_at
        self._had = {_identity(event) for event in log.read()}

    def __call__(self, line: str) -> None:
        """Take one line."""
        if not is_event(line):
            sys.stderr.write(f"{line}\n")
            return
        event = json.loads(line)
        if (identity := _identity(event)) in self._had:
            return
        self._had.add(identity)
        self._log.append(event)
        if event["kind"] == "train_step" and self._created_at is not None:
            self._log.emit("train_started", seconds=round(event["time"] - self._created_at, 3))
            self._created_at = None


def _identity(event: dict[str, object]) -> str:
    return json.dumps(event, sort_keys=True)
