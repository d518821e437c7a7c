"""One process at a time in a folder.

The lock is the kernel's (`flock`): it goes with its holder, however that ends, so a crash leaves nothing to
clean up.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.errors import BusyError
from llm.storage.atomic_write import make_folder


@contextmanager
def only_process_in(folder: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold `folder` for this process; raises BusyError, naming the holder, if another keeps it,
    UserError if there can be no such folder.

    `wait_seconds` lets a predecessor that was just killed finish dying.
    """
    make_folder(folder)
    path = folder / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, folder, wait_seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, folder: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
                raise BusyError(
                    f"another run works in {folder} (process {holder})",
                    "Wait for it to end, stop it, or choose another run with run.name=….",
                ) from error
            time.sleep(0.1)
