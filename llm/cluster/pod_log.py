"""One container's log, each line once and in order, however often the connection breaks.

A connection breaks when the API server restarts, or when a proxy closes it. The log is then read again from the second
of the last line, and lines that were read before are passed over by their timestamps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from llm.cluster.api import Api, Query, Stream
from llm.cluster.pod_requests import log_of


class PodLog:
    """The log of a pod's container, and the place up to which it was read."""

    def __init__(self, api: Api, namespace: str, pod: str, container: str) -> None:
        """Begin before its first line."""
        self._api, self._where = api, (namespace, pod, container)
        self._last = -1
        """Timestamp of the last line, in nanoseconds since the epoch."""
        self._had = 0
        """Number of lines of that timestamp that were read."""
        self._stream: Stream | None = None

    def new_lines(self, *, follow: bool, is_complete: bool = False) -> Iterator[str]:
        """The lines since the last call; with `follow` also those to come, until the container or the connection ends.

        The text after the last line's end is a line only if the log `is_complete`. Raises Refused (404 without the
        pod), or Unreachable for a connection that broke.
        """
        query: Query = {"timestamps": True, "follow": follow, **self._since()}
        with log_of(self._api, *self._where, query) as stream:
            self._stream = stream
            try:
                yield from self._unread(_stamped(_lines(stream, is_complete)))
            finally:
                self._stream = None

    def hang_up(self) -> None:
        """Wake the thread that waits for a line; to close the connection would wait for the line instead."""
        if (stream := self._stream) is not None:
            stream.hang_up()

    def _since(self) -> dict[str, str]:
        """The time to begin at: a log can be asked for by the second only."""
        if self._last < 0:
            return {}
        return {"sinceTime": datetime.fromtimestamp(self._last // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _unread(self, stamped: Iterator[tuple[int, str]]) -> Iterator[str]:
        skip = self._had
        for nanoseconds, line in stamped:
            if nanoseconds < self._last:
                continue
            if nanoseconds == self._last and skip:
                skip -= 1
                continue
            self._had = self._had + 1 if nanoseconds == self._last else 1
            self._last = nanoseconds
            yield line


def _lines(stream: Stream, is_complete: bool) -> Iterator[bytes]:
    """The complete lines of an answer. One that broke off in the middle is read from its beginning the next time."""
    rest = b""
    for chunk in stream.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest and is_complete:
        yield rest


def _stamped(lines: Iterator[bytes]) -> Iterator[tuple[int, str]]:
    """(nanoseconds since the epoch, text) of each line `2026-11-24T23:15:50.123456789Z text`; others are no lines."""
    for line in lines:
        stamp, _, text = line.decode(errors="replace").partition(" ")
        whole, _, fraction = stamp.removesuffix("Z").partition(".")
        with suppress(ValueError):
            seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
            yield seconds * 10**9 + int(f"{fraction:0<9}"[:9] or 0), text
