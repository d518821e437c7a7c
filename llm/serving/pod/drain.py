"""Let Triton finish its open requests. A pod's preStop hook runs this (`python -m llm.serving.pod.drain`).

When a pod must go, two things begin at the same time: this hook, and the news of it on its way to every node's routing.
So first we wait, and Triton serves as before, until new connections go elsewhere. Then we wait until no request is open
and none has come for a short while, but no longer than the limit. After that, Kubernetes tells Triton to stop. Triton
then refuses new connections, and breaks off whatever has not ended after its exit timeout.

A client that keeps a connection open and asks again and again on it is served until the limit, and then cut off:
Triton has no way to ask it to come back on a new connection.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from llm.serving.pod.health import model_process_lives
from llm.serving.pod.open_requests import Requests, requests
from llm.words import duration

POLL_SECONDS = 0.2
IDLE_SECONDS = 2.0
"""Seconds in which no request may be open, and none answered: a client that asks again comes back sooner."""
NEWS_SECONDS = 10.0
CONTAINER_LOG = Path("/proc/1/fd/1")
"""Standard output of the container's main process: a hook's own goes nowhere."""


def main(arguments: list[str] | None = None) -> int:
    """Wait; always 0, as a failing hook would only be noise in a pod's events."""
    parser = argparse.ArgumentParser(prog="python -m llm.serving.pod.drain")
    parser.add_argument("--ports", type=int, nargs="+", default=[8000, 8001], help="Triton's ports for HTTP and gRPC")
    parser.add_argument("--metrics-port", type=int, default=8002, help="Triton's port for metrics")
    parser.add_argument("--triton", type=int, default=1, metavar="PID", help="the server's process")
    parser.add_argument("--delay", type=float, default=5.0, metavar="SECONDS", help="wait for the routing")
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="wait for answers, at most")
    parser.add_argument("--log", type=Path, default=CONTAINER_LOG, metavar="FILE", help="where to write the progress")
    given = parser.parse_args(arguments)

    def tell(message: str) -> None:
        say(f"drain: {message}", given.log)

    if not model_process_lives():
        tell("the model's process has died, so there is nothing to wait for")
        return 0
    time.sleep(given.delay)
    metrics = f"http://127.0.0.1:{given.metrics_port}/metrics"
    drain(lambda: requests(metrics, given.ports, given.triton), given.limit, tell)
    return 0


def drain(
    look: Callable[[], Requests],
    limit_seconds: float,
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until no request was open or answered for IDLE_SECONDS; whether that was so before the limit."""
    start = clock()
    told, quiet_since = -NEWS_SECONDS, start
    before = look()
    while True:
        now = look()
        if now.open or now.answered != before.answered:
            quiet_since = clock()
        before = now
        waited = clock() - start
        if not now.open and clock() - quiet_since >= IDLE_SECONDS:
            tell(f"no request is open, after {duration(waited)}")
            return True
        if waited >= limit_seconds:
            long = duration(round(waited))
            what = (
                f"requests still open after {long}: {now.open}"
                if now.open
                else f"clients ask again and again for {long}"
            )
            tell(f"{what}; they will be cut off")
            return False
        if now.open and waited - told >= NEWS_SECONDS:
            tell(f"requests open: {now.open}")
            told = waited
        sleep(POLL_SECONDS)


def say(message: str, log: Path) -> None:
    """Add a line to a log, or to standard error if that cannot be reached."""
    try:
        with log.open("a") as file:
            file.write(f"{message}\n")
    except OSError:
        sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    sys.exit(main())
