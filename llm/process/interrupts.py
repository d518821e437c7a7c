"""A stop signal while a run goes on elsewhere: it becomes an exception where we wait, and never in the middle of a
request that makes or ends something.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from llm.process.signals import while_signals


class Interrupted(BaseException):
    """Somebody wants us to stop; like KeyboardInterrupt, it is not an error that a handler of errors may swallow."""

    def __init__(self, number: int) -> None:
        """Take the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.by_keyboard = number == signal.SIGINT
        self.by_hangup = number == signal.SIGHUP


class Interrupts:
    """Turns stop signals into `Interrupted` between `with` and its end."""

    def __init__(self) -> None:
        self._is_held = False
        self._pending: int | None = None
        self._signals = ExitStack()

    def __enter__(self) -> Interrupts:
        """Begin."""
        self._signals.enter_context(while_signals(self._handle))
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the signals as they were."""
        self._signals.close()

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

    def _handle(self, number: int) -> None:
        if self._is_held:
            self._pending = number
            return
        raise Interrupted(number)
