"""Saving while the training goes on: the loop waits for a copy, and a thread writes it.

The threads of all ranks agree over a process group of their own: their collectives never mix with those of a step.
One checkpoint is written at a time. A save that fails fails on all ranks. The loops learn of it at the next step, in
the reduction that they do anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

LONGEST_SAVE = timedelta(hours=2)


class Saver:
    """Writes in a thread of this rank."""

    def __init__(self) -> None:
        """All ranks make theirs at the same moment."""
        self.group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=LONGEST_SAVE)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def begin(self, write: Callable[[], None]) -> None:
        """Let the thread write; waits for the save before it, and raises its error."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint", daemon=True)
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether a save ended with an error that `wait` has not raised yet."""
        return self._error is not None

    def wait(self) -> None:
        """Wait for the save in progress, if there is one; raises its error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - the loop raises it
            self._error = error
