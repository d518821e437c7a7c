"""One process at a time in a folder.

The lock is the kernel's (`flock`): it goes with its holder, however that ends, so a crash leaves nothing to
clean up. It needs no right to write: a second user of a group can take it on a file that the first one made. Where the
file system has no locks, GRISTMILL_LOCKS names a folder of this machine that keeps them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.errors import BusyError, UserError
from llm.storage.atomic_write import READABLE, make_folder
from llm.storage.disk import NOT_ALLOWED, not_allowed, strerror
from llm.storage.uri import user_path

LOCKS = "GRISTMILL_LOCKS"
"""Environment variable with the folder for locks, for stores and runs on file systems without them."""
PROBE = "check.lock"
"""The one file there that checks lock before a run."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
"""Answers of file systems without locks; EBADF: NFS wants a file that is open for writing."""


@contextmanager
def only_process_in(folder: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold `folder` for this process; raises BusyError, naming the holder, if another keeps it,
    UserError if there can be no such folder, or no lock in it.

    `wait_seconds` lets a predecessor that was just killed finish dying.
    """
    make_folder(folder)
    descriptor, is_ours_to_write = _opened(_lock_file(folder))
    try:
        _acquire(descriptor, folder, wait_seconds)
        if is_ours_to_write:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let the others wait while one process is in the body; where the folder has no locks, nobody waits."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if not has_no_locks(error):
                raise
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process works in this folder now; False where that cannot be known."""
    try:
        descriptor = os.open(_lock_file(folder), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take a lock if it is free; raises OSError where there are no locks (`has_no_locks`)."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def has_no_locks(error: OSError) -> bool:
    """Whether the file system has no locks."""
    return error.errno in NO_LOCKS


def check_locks(folder: Path) -> None:
    """Raise UserError if no lock can be taken in a folder, or in the folder for locks."""
    locks = locks_folder()
    if locks is not None:
        make_folder(locks)
    descriptor, _ = _opened(folder / ".lock" if locks is None else locks / PROBE)
    try:
        try_lock(descriptor, fcntl.LOCK_SH)  # whether another check holds it now says nothing
    except OSError as error:
        if not has_no_locks(error):
            raise
        raise _no_locks(folder if locks is None else locks, error) from error
    finally:
        os.close(descriptor)


def locks_folder() -> Path | None:
    """The folder that GRISTMILL_LOCKS names; None if the variable is not set.

    Raises UserError for a path that depends on the working folder: two processes would not see each other's locks.
    """
    named = os.environ.get(LOCKS)
    if not named:
        return None
    folder = user_path(named)
    if not folder.is_absolute():
        raise UserError(
            f"{LOCKS}={named} is not a whole path",
            "Commands in different folders would not see each other's locks.",
            "Write the path from the root, such as /var/tmp/gristmill-locks, or one that begins with ~/.",
        )
    return folder


def _lock_file(folder: Path) -> Path:
    locks = locks_folder()
    if locks is None:
        return folder / ".lock"
    make_folder(locks)
    return locks / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.lock"


def _opened(path: Path) -> tuple[int, bool]:
    """The lock file, and whether we may write into it; it is made only if it is not there.

    Linux can refuse O_CREAT for a file of another user that may be written without it (`fs.protected_regular`).
    """
    refused: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        try:
            return os.open(path, flags | os.O_CLOEXEC, READABLE), flags != os.O_RDONLY
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in NOT_ALLOWED:
                raise
            refused = error
    raise not_allowed(refused, path) from refused


def _acquire(descriptor: int, folder: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            if try_lock(descriptor):
                return
        except OSError as error:
            if not has_no_locks(error):
                raise
            raise _no_locks(folder, error) from error
        if time.monotonic() >= deadline:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise BusyError(
                f"another run works in {folder} (process {holder})",
                "Wait for it to end, stop it, or choose another run with run.name=….",
            )
        time.sleep(0.1)


def _no_locks(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{folder} cannot be locked: its file system has no file locks (flock: {strerror(error)})",
        "Without a lock two runs at once would overwrite each other's work.",
        f"Set {LOCKS} to a folder on a local disk, and start the runs of this store on this machine alone. Or set"
        " run.folder and storage.uri to another disk, or mount this one with locks (Lustre: -o flock).",
    )
