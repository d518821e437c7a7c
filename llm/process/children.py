"""Children that the kernel kills when their parent dies, however it dies; on Linux only, elsewhere they live on."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(is_alive: Callable[[], bool]) -> None:
    """Ask the kernel to kill this process when its parent ends; ends it at once if `is_alive` says it has already."""
    if _LIBC is None:
        return
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not is_alive():  # it died before the kernel knew our wish
        os._exit(137)


def dying_with_this_process() -> Callable[[], None]:
    """The `preexec_fn` of a child that must not outlive the thread that starts it."""
    parent = os.getpid()
    return lambda: die_with_parent(lambda: os.getppid() == parent)
