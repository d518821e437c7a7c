"""The history of a training: its losses, in segments that are written once and named by every later checkpoint.

    <workspace>/history/step-00000050.jsonl     the lines since the save before
    <workspace>/step-00000050/history.json      the segments up to this step, with size and sha256

So a save takes as long after a million steps as after a hundred.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm.storage import FileEntry, Objects

FOLDER = "history"


class History(list[dict[str, Any]]):
    """A line for each step and each validation, as the first rank knows them; lines are only added."""

    def __init__(self, lines: Iterable[dict[str, Any]] = ()) -> None:
        """The lines of a checkpoint become one segment with the next save: there are few, however often it resumes."""
        super().__init__(lines)
        self._segments: tuple[FileEntry, ...] = ()
        self._saved = 0

    def save(self, workspace: Objects, scratch: Path, lines: int, name: str) -> list[dict[str, Any]]:
        """Write what is new among the first `lines` as the segment of a checkpoint; returns all segments."""
        if lines > self._saved:
            path = scratch / f"{FOLDER}-{name}.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in self[self._saved : lines]))
            self._segments += (workspace.put(path, f"{FOLDER}/{name}.jsonl"),)
            self._saved = lines
            path.unlink(missing_ok=True)
        return [entry.model_dump() for entry in self._segments]
