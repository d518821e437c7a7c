"""The log of rank 0 as it is written, pod after pod, each line once and in order.

A connection breaks when the API server restarts or a proxy tires of it; then the log is read on from the second of
the last line, and lines that were had are passed over by their timestamps. When a pod has ended, what is left of its
log is read once more without following it, since a stream that ends does not say whether it ended or broke.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llm.cluster import pods as of
from llm.cluster.api import Api, Json
from llm.cluster.pod_requests import log_of, pod
from llm.cluster.refusal import Refused
from llm.errors import ServiceError

RETRY_SECONDS = 1.0
CHUNK_BYTES = 1 << 16


@dataclass
class Place:
    """How far a pod's log was read: the last line's timestamp, and how many lines of that timestamp were had."""

    nanoseconds: int = -1
    had: int = 0

    def query(self) -> dict[str, str]:
        """What to ask for to go on; a log is found again by the second only."""
        if self.nanoseconds < 0:
            return {}
        return {"sinceTime": datetime.fromtimestamp(self.nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}

    def new_lines(self, stamped: Iterator[tuple[int, str]]) -> Iterator[str]:
        """Of a log read from that second on, the lines that are new; the place moves along with them."""
        skip = self.had
        for nanoseconds, line in stamped:
            if nanoseconds < self.nanoseconds:
                continue
            if nanoseconds == self.nanoseconds and skip:
                skip -= 1
                continue
            self.had = self.had + 1 if nanoseconds == self.nanoseconds else 1
            self.nanoseconds = nanoseconds
            yield line


class LogStream:
    """Reads in a thread; `see` is told of the pods, `finish` reads what is left, `close` leaves it."""

    def __init__(self, api: Api, take: Callable[[str], None]) -> None:
        """Give each line, without its end, to `take`, in the thread."""
        self._api, self._take = api, take
        self._names: queue.Queue[str | None] = queue.Queue()
        self._known: set[str] = set()
        self._closed = threading.Event()
        self._response: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="training-log", daemon=True)

    def __enter__(self) -> LogStream:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave what is not read."""
        self.close()

    def see(self, pods: Sequence[Json]) -> None:
        """Read the log of rank 0's pods that have one; those of earlier attempts first. Raises what `take` raised."""
        self._raise_error()
        for one in sorted(pods, key=of.attempt_of):
            name = of.name_of(one)
            if of.index_of(one) == 0 and of.has_log(one) and name not in self._known:
                self._known.add(name)
                self._names.put(name)

    def finish(self, seconds: float) -> bool:
        """Read to the end of all logs that were seen; False if that takes longer."""
        self._names.put(None)
        self._thread.join(seconds)
        self._raise_error()
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop at once."""
        self._closed.set()
        self._names.put(None)
        self._hang_up()
        self._thread.join(2)

    def _work(self) -> None:
        try:
            while (name := self._names.get()) is not None and not self._closed.is_set():
                self._read(name)
        except BaseException as error:  # noqa: BLE001 - the outermost edge of the thread: a full disk, or a fault of ours
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _read(self, name: str) -> None:
        """A pod's log to its end, or until the pod is gone."""
        place = Place()
        while not self._closed.is_set():
            try:
                self._attach(name, place, follow=True)
                found = pod(self._api, name)
                if found is not None and of.ending_of(found) is not None:
                    self._attach(name, place, follow=False)
                    return
                if found is None:
                    return
            except Refused as error:
                if error.status == 404:
                    return
                self._closed.wait(RETRY_SECONDS)
            except ServiceError:  # no answer, or a stream that broke: go on from the place
                self._closed.wait(RETRY_SECONDS)

    def _attach(self, name: str, place: Place, *, follow: bool) -> None:
        with log_of(self._api, name, {"timestamps": True, "follow": follow, **place.query()}) as response:
            self._response = response
            try:
                for line in place.new_lines(_stamped(_lines(response))):
                    if self._closed.is_set():
                        return
                    self._take(line)
            finally:
                self._response = None

    def _hang_up(self) -> None:
        """Wake the thread out of its reading; closing the response would wait for it instead."""
        response = self._response
        with suppress(AttributeError, OSError):  # between two logs, or just ended by itself
            response.connection.sock.shutdown(socket.SHUT_RDWR)


def _lines(response: Any) -> Iterator[bytes]:
    """The complete lines of an answer; one that broke off in the middle is had from its beginning next time."""
    rest = b""
    for chunk in response.stream(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _stamped(lines: Iterator[bytes]) -> Iterator[tuple[int, str]]:
    """(nanoseconds since the epoch, text) of each line `2026-11-24T23:15:50.123456789Z text`; others are no lines."""
    for line in lines:
        stamp, _, text = line.decode(errors="replace").partition(" ")
        whole, _, fraction = stamp.removesuffix("Z").partition(".")
        with suppress(ValueError):
            seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
            yield seconds * 10**9 + int(f"{fraction:0<9}"[:9] or 0), text
