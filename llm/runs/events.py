"""The event log of a run: `events.jsonl`, one JSON object a line, appended by whichever process has news.

Every sink (progress line, report, MLflow) is fed from this file, so none of them can hold up or lose the work.
A line goes out in a single O_APPEND write: lines of several processes do not mix, and a process that is killed
leaves at most one torn last line, which the reader skips.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class EventLog:
    """Append-only log; law: what was emitted before a crash is read after it."""

    def __init__(self, path: Path | str) -> None:
        """Write to `path`; its folder is made at the first event."""
        self.path = Path(path)

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event with the time (seconds since the epoch) and its kind."""
        self.append({"time": round(time.time(), 3), "kind": kind, **fields})

    def append(self, event: Mapping[str, Any]) -> None:
        """Append an event as it is: one that happened elsewhere, with its own time and kind."""
        line = json.dumps(event, default=str) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a crash: keep our line apart from it
            os.write(descriptor, (b"\n" if torn else b"") + line.encode())
        finally:
            os.close(descriptor)

    def read(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All events so far, in order, of one kind if given."""
        return [event for event, _ in read_events(self.path) if kind is None or event["kind"] == kind]


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield (event, offset after it) from a byte offset on; stops before a line that is not complete yet."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue  # torn by a crash, or filled with zeros by a power cut
            if isinstance(event, dict) and "kind" in event:
                yield event, offset
