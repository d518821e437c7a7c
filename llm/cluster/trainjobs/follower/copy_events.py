"""The lines of a training's log: the run's event log gets the events as they are, stderr gets the text."""

from __future__ import annotations

import sys

from llm.runs.event_kinds import TrainStarted, TrainStep
from llm.runs.events import EventLog, event_line, parse_event


class CopyEvents:
    """Takes the lines of the log; an event that the run's log has already is not written again.

    A launcher that follows an earlier launcher reads the training's log from its beginning, and the run's log may have
    part of it.
    """

    def __init__(self, log: EventLog, created_at: float | None) -> None:
        """Write to `log`; `created_at` is when we created the TrainJob, in epoch seconds, or None if others did."""
        self._log, self._created_at = log, created_at
        self._had = {event_line(event) for event in log.read()}

    def __call__(self, line: str) -> None:
        """Take one line."""
        event = parse_event(line)
        if event is None:
            sys.stderr.write(f"{line}\n")
            return
        if (identity := event_line(event)) in self._had:
            return
        self._had.add(identity)
        self._log.emit(event)
        if isinstance(event, TrainStep) and self._created_at is not None:
            self._log.emit(TrainStarted(seconds=round(event.time - self._created_at, 3)))
            self._created_at = None
