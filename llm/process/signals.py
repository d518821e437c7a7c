"""The signals that ask a process to stop, and how to handle them for a while.

SIGTERM comes from Kubernetes or from a service manager, SIGINT from Ctrl-C, and SIGHUP from a terminal that went away
(a dropped ssh connection). All of them mean the same: save what you have, and stop. A process whose SIGHUP was ignored
when it started (`nohup`) shall outlive its terminal, so its SIGHUP stays ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def while_signals(handler: Callable[[int], object]) -> Iterator[None]:
    """Call `handler` with the number of each stop signal that comes while the body runs; restore the handlers after it.

    Python handles signals in the main thread alone: in any other thread this does nothing.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        handler(number)

    handled = [number for number in STOP_SIGNALS if not _is_ignored_by_nohup(number)] if _in_main_thread() else []
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def ignore_stop_signals() -> None:
    """Ignore all further stop signals, so that none of them cuts short what the first one has begun.

    Ctrl-C reaches a step twice, for example: from the terminal, and from the runner, which passes it on.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _is_ignored_by_nohup(number: signal.Signals) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
