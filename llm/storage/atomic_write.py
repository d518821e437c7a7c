"""Files that are complete or absent.

A reader never sees half a file: the content goes to a temporary name in the same folder, is flushed to the
disk, and takes its final name in one rename.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from llm.errors import UserError


def write_atomically(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Replace `path` by `content` in one step, creating its folder.

    Raises OSError (a full disk, no permission) and leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)  # mkstemp made it private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder that the configuration names; raises UserError if a file is in the way or it is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {path} cannot be made: {error.strerror}",
            "run.folder and storage.uri must name folders, on a disk with room, where you may write.",
        ) from error


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
