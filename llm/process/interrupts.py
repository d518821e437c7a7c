"""Ctrl-C and SIGTERM while a run goes on elsewhere: an exception where we wait, never in the middle of a request that
makes or ends something.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Somebody wants us to stop; like KeyboardInterrupt, it is not an error that a handler of errors may swallow."""

    def __init__(self, number: int) -> None:
        """Take the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.by_keyboard = number == signal.SIGINT


class Interrupts:
    """Turns SIGINT and SIGTERM into `Interrupted` between `with` and its end."""

    def __init__(self) -> None:
        self._is_held = False
        self._pending: int | None = None

    def __enter__(self) -> Interrupts:
        """Begin."""
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the signals as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the body end first; a signal that comes meanwhile is kept for `raise_held`."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before

    def raise_held(self) -> None:
        """Raise Interrupted for a signal that was kept, once."""
        number, self._pending = self._pending, None
        if number is not None:
            raise Interrupted(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._pending = number
            return
        raise Interrupted(number)
