"""Files that are complete or absent.

A reader never sees half a file: the content goes to a temporary name in the same folder, is flushed to the
disk, and takes its final name in one rename. Modes follow the umask, as those of every other program do: a file is made
with its mode, and no `chmod` is needed, which some file systems refuse.
"""

from __future__ import annotations

import errno
import logging
import os
import uuid
from functools import cache
from pathlib import Path

from llm.errors import UserError
from llm.storage.disk import strerror

READABLE = 0o666
"""Mode of a new file before the umask takes its part away."""
NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.EISDIR}
"""Answers of file systems that cannot flush a file or a folder (FUSE, CIFS, 9p). EIO is a broken disk."""


def write_atomically(path: Path, content: str | bytes, mode: int = READABLE) -> None:
    """Replace `path` by `content` in one step, creating its folder.

    Raises OSError (a full disk, no permission) and leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = fresh_file(path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _flush(file.fileno(), path)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def fresh_file(target: Path, mode: int = READABLE) -> tuple[int, Path]:
    """An open empty file with a hidden name of its own in the folder of `target`, and its path."""
    path = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), path


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
    """Flush a file, or the entries of a folder, so that it survives a power cut.

    A file system that cannot do it keeps the data all the same: there is one warning, and no error.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # a folder that may be written and not read
            return
        raise
    try:
        _flush(descriptor, path)
    finally:
        os.close(descriptor)


def _flush(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
        warn_once(no_fsync(strerror(error)))


def no_fsync(reason: str) -> str:
    """The warning about a file system that cannot flush."""
    return (
        f"a file system of this run cannot flush a file or a folder to the disk (fsync: {reason})."
        " A power cut can lose what was written last; run the same command again after one."
    )


@cache
def warn_once(message: str) -> None:
    """Log a warning, once a process."""
    logging.getLogger("llm.storage").warning("warning: %s", message)
