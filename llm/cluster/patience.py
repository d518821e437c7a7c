"""Patience with a server that does not answer: one rule for Kubernetes' API server and for Kubeflow Pipelines."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from llm.errors import OutageError
from llm.words import duration

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
Answer = TypeVar("Answer")
Tell = Callable[[str], None]


class Clock:
    """The time of a process that waits; a test passes a clock that it moves by hand."""

    def now(self) -> float:
        """Seconds since some moment, never less than before."""
        return time.monotonic()

    def date(self) -> datetime:
        """The date and time in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        time.sleep(seconds)


CLOCK = Clock()


def silent(message: str) -> None:
    """Drop the message."""


def patiently(
    ask: Callable[[], Answer], seconds: float, tell: Tell, server: str, *,
    clock: Clock = CLOCK, pause: Callable[[float], None] | None = None, meanwhile: str = "",
) -> Answer:  # fmt: skip
    """The answer to `ask`, which is asked again after each OutageError until `seconds` have passed since the first try.

    `tell` gets one line when an outage begins, with `meanwhile` at its end, and one when `server` answers again.
    Raises the last OutageError, and whatever else `ask` or `pause` raises.
    """
    deadline, wait, is_out = clock.now() + seconds, FIRST_WAIT_SECONDS, False
    while True:
        try:
            answer = ask()
        except OutageError as error:
            now = clock.now()
            if now >= deadline:
                raise
            if not is_out:
                is_out = True
                first_line = str(error).partition("\n")[0]
                tell(f"{first_line}; trying again for {duration(seconds)}{meanwhile}")
            (pause or clock.sleep)(min(wait, deadline - now))
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        else:
            if is_out:
                tell(f"{server} answers again")
            return answer
