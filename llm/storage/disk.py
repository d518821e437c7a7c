"""A full disk, a folder where the user may not write, a path that cannot be: how each shows, and the words for it."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llm.errors import UserError
from llm.storage.uri import cache_folder
from llm.words import size

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)

SHOWN = 200
"""Characters of a path that a message shows."""


def is_disk_full(error: Exception) -> bool:
    """Whether a full disk or a used-up quota caused this; Rust libraries (polars) only put it into words."""
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    return any(f"(os error {code})" in str(error) for code in NO_SPACE)


def disk_full(place: Path, error: Exception) -> UserError:
    """The error for a disk that ran full: which disk, how much is left, what to do.

    `place` is the folder that was worked in. The full disk is that of the file which the error names. An error that
    names none can be about the temporary files or the cache: of these disks it is the one with the least room.
    """
    named = [Path(os.fsdecode(name)) for name in (_name(error, "filename"), _name(error, "filename2")) if name]
    candidates = named or [place, Path(tempfile.gettempdir()), cache_folder()]
    full = _with_least_room([_nearest(path) for path in candidates])
    usage = os.statvfs(full)
    free = size(shutil.disk_usage(full).free)
    if usage.f_files and not usage.f_favail:
        free = f"no file (its inodes are used up) and {free}"
    quota = " Your quota there is used up." if getattr(error, "errno", None) == errno.EDQUOT else ""
    return UserError(
        f"the disk is full: {named[0] if named else full}",
        f"{free} can still be written on the disk of {full}, which is mounted at {_mount(full)}.{quota}",
        f"Complete products are untouched. Free some space, or {_elsewhere(full, place)}, and run again.",
    )


def _elsewhere(full: Path, place: Path) -> str:
    """The setting that takes the work to another disk."""
    if not full.is_relative_to(_nearest(place)):
        for folder, setting in ((Path(tempfile.gettempdir()), "TMPDIR"), (cache_folder(), "GRISTMILL_CACHE")):
            if full.is_relative_to(_nearest(folder)):
                return f"set {setting} to a folder on another disk"
    return "set storage.uri (or run.folder) to another disk"


def not_allowed(error: OSError, place: Path) -> UserError:
    """The error for a file that the user may not read, write or remove: whose it is, and what to do."""
    path = Path(os.fsdecode(error.filename)) if error.filename else place
    if error.errno == errno.EROFS:
        return UserError(f"{path} cannot be written: its disk is mounted for reading only",
                         "Set storage.uri or run.folder to another disk.")  # fmt: skip
    return UserError(
        f"{path} cannot be used: {strerror(error)}",
        whose(path),
        "A store that several people share needs one group, a setgid folder and umask 002: see docs/storage.md.",
    )


def is_no_path(error: OSError) -> bool:
    """Whether no file can have this path: it is too long, or its links lead in a circle."""
    return error.errno in NO_PATH


def no_path(error: OSError) -> UserError:
    """The error for a path that no file can have; a long one is cut."""
    path = os.fsdecode(error.filename or "a path")
    shown = path if len(path) <= SHOWN else f"{path[:SHOWN]}…"
    return UserError(f"{shown} cannot be used: {strerror(error)}", "Give another path or name.")


def whose(path: Path) -> str:
    """In words, to whom a path (or the folder that it would be in) belongs, and who asks."""
    there = _nearest(path)
    status = there.stat()
    mode = f"{status.st_mode & 0o7777:04o}"
    return f"{there} belongs to {_user(status.st_uid)}, with mode {mode}; you are {_user(os.geteuid())}."


def strerror(error: OSError) -> str:
    """The system's words for an error."""
    return error.strerror or str(error)


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"


def _name(error: Exception, attribute: str) -> str | bytes | None:
    name = getattr(error, attribute, None)
    return name if isinstance(name, str | bytes) else None  # a file descriptor is a number


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there and can be looked at."""
    path = path.absolute()
    for one in (path, *path.parents):
        try:
            one.stat()
        except OSError:
            continue
        return one
    return Path("/")


def _with_least_room(paths: Sequence[Path]) -> Path:
    """The path on the disk with the least room; of paths on one disk the first."""
    rooms: dict[int | Path, tuple[int, int]] = {}
    disks: dict[Path, int | Path] = {}
    for path in paths:
        usage = os.statvfs(path)
        disks[path] = usage.f_fsid or path
        rooms.setdefault(disks[path], _room(usage))  # once a disk: others write between two looks
    return min(paths, key=lambda path: rooms[disks[path]])


def _room(usage: os.statvfs_result) -> tuple[int, int]:
    """Bytes that the user can still write, and files; a file system that counts no files has room for many."""
    files = usage.f_favail if usage.f_files else 1 << 62
    return (0 if not files else usage.f_bavail * usage.f_frsize), files


def _mount(path: Path) -> Path:
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    return path
