"""The event log of a run: `events.jsonl`, one JSON object a line, appended by whichever process has news.

Every sink (progress line, report, MLflow) is fed from this file, so none of them can hold up or lose the work.
A line goes out in a single O_APPEND write. So lines of several processes do not mix, and a process that is killed
leaves at most one torn last line, which the reader skips. The kinds of event are in `llm.runs.event_kinds`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from llm.runs.event_kinds import Event

E = TypeVar("E", bound=Event)


class EventLog:
    """Append-only log; law: what was emitted before a crash is read after it."""

    def __init__(self, path: Path | str) -> None:
        """Write to `path`; its folder is made at the first event."""
        self.path = Path(path)

    def emit(self, event: Event) -> None:
        """Append one event, with its own time: it may have happened elsewhere."""
        line = event_line(event)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a crash: keep our line apart from it
            os.write(descriptor, (b"\n" if torn else b"") + line.encode() + b"\n")
        finally:
            os.close(descriptor)

    def read(self) -> list[Event]:
        """All events so far, in order."""
        return [event for event, _ in read_events(self.path)]

    def of_kind(self, kind: type[E]) -> list[E]:
        """All events of one kind so far, in order."""
        return [event for event in self.read() if isinstance(event, kind)]


def event_line(event: Event) -> str:
    """The event as one line of JSON, without its end."""
    return json.dumps(event.document(), default=str)


def parse_event(line: str | bytes) -> Event | None:
    """The event in a line of a log; None for text, and for a line that a crash tore."""
    try:
        return Event.read(json.loads(line))
    except ValueError:
        return None


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """Yield (event, offset after it) from a byte offset on; stops before a line that is not complete yet."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            if (event := parse_event(line)) is not None:  # None: torn by a crash, or zeros after a power cut
                yield event, offset
