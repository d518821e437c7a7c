"""A place in an event log, and whether a log still has there what it had: pods put a log together from parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

LAST_BYTES = 1024


def bytes_before(log: Path, offset: int) -> str | None:
    """Hash of the log's bytes before `offset`, enough of them to recognise the log; None for none."""
    if offset == 0 or not log.is_file():
        return None
    with log.open("rb") as file:
        file.seek(max(0, offset - LAST_BYTES))
        return hashlib.sha256(file.read(min(offset, LAST_BYTES))).hexdigest()
