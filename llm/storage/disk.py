"""A disk that is full: how it shows, and what the user is told."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from llm.errors import UserError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def is_disk_full(error: Exception) -> bool:
    """Whether this is a full disk's or a used-up quota's doing; Rust libraries (polars) only put it into words."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    return any(f"(os error {code})" in str(error) for code in NO_SPACE)


def disk_full(place: Path, error: Exception) -> UserError:
    """The error for a disk that ran full: where, how much is left, what to do."""
    free_bytes = shutil.disk_usage(place).free
    return UserError(
        f"the disk is full: {getattr(error, 'filename', None) or place}",
        f"{free_bytes / 2**20:.1f} MiB are free on the disk of {place}.",
        "What was complete before is untouched. Free some space, or set storage.uri to another disk, and run again.",
    )
