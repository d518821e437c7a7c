"""A step stops when another process asks it to, and does not outlive its runner."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llm.errors import Preempted
from llm.process.signals import ignore_stop_signals, while_signals

RUNNER_PID = "GRISTMILL_RUNNER_PID"
"""Environment variable with the process that a step must not outlive."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn a stop signal into Preempted, so that the work unwinds and cleans up behind itself."""

    def stop(number: int) -> None:
        ignore_stop_signals()
        raise Preempted(f"stopped by {signal.Signals(number).name}", "Run the same command again to go on.")

    with while_signals(stop):
        yield


def die_with_runner() -> None:
    """End this process at once when the runner named in the environment ends, however that happens.

    The runner is not our parent (KFP puts shells between us), so the kernel's parent-death signal does not
    reach us: a thread waits on the runner's pidfd instead. Does nothing without a runner or without pidfd.
    """
    runner = os.environ.get(RUNNER_PID)
    if runner is None or not hasattr(os, "pidfd_open"):
        return
    try:
        descriptor = os.pidfd_open(int(runner))
    except ProcessLookupError:
        os._exit(137)

    def wait() -> None:
        select.select([descriptor], [], [])
        os._exit(137)

    threading.Thread(target=wait, name="die-with-runner", daemon=True).start()
