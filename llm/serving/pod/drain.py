"""Let a Triton finish what it has begun: what a pod's preStop hook runs (`python -m llm.serving.pod.drain`).

When a pod is told to go, two things begin at once: this hook, and the news of it on its way to every node's routing.
So first we wait, with Triton serving as ever, until new connections go elsewhere. Then we wait until no answer is
owed on any connection, for as long as the longest may take. Only then does Kubernetes tell Triton to stop, which
refuses new connections from that moment and breaks off whatever has not ended after its exit timeout. Whether an
answer is owed over gRPC cannot be seen from outside: there we wait until its clients have gone.

A client that keeps a connection open and goes on asking on it is served until the time is over, and then cut off:
Triton has no way to ask it to come back on a new one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from llm.serving.pod.connections import in_use
from llm.serving.pod.health import model_process_lives

POLL_SECONDS = 0.2
NEWS_SECONDS = 10.0
CONTAINER_LOG = Path("/proc/1/fd/1")
"""Standard output of the container's main process: a hook's own goes nowhere."""


def main(arguments: list[str] | None = None) -> int:
    """Wait; always 0, as a failing hook would only be noise in a pod's events."""
    parser = argparse.ArgumentParser(prog="python -m llm.serving.pod.drain")
    parser.add_argument("--ports", type=int, nargs="+", default=[8000], help="ports whose connections count, if used")
    parser.add_argument("--grpc-ports", type=int, nargs="+", default=[8001], help="ports whose connections all count")
    parser.add_argument("--delay", type=float, default=5.0, metavar="SECONDS", help="wait for the routing")
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="wait for answers, at most")
    parser.add_argument("--idle", type=float, default=5.0, metavar="SECONDS", help="quiet for so long is idle")
    parser.add_argument("--log", type=Path, default=CONTAINER_LOG, metavar="FILE", help="where to say how it goes")
    given = parser.parse_args(arguments)

    def tell(message: str) -> None:
        say(f"drain: {message}", given.log)

    if not model_process_lives():
        tell("the model's process has died, so there is nothing to wait for")
        return 0
    time.sleep(given.delay)
    drain(lambda: in_use(given.ports, given.idle, given.grpc_ports), given.limit, tell)
    return 0


def drain(
    left: Callable[[], int],
    limit_seconds: float,
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until nothing is `left`; whether that was so before the limit."""
    start = clock()
    told = -NEWS_SECONDS
    while (count := left()) > 0:
        waited = clock() - start
        if waited >= limit_seconds:
            tell(f"{count} connections are still in use after {waited:.0f} s; they will be cut off")
            return False
        if waited - told >= NEWS_SECONDS:
            tell(f"{count} connections in use")
            told = waited
        sleep(POLL_SECONDS)
    tell(f"no answer is owed any more, after {clock() - start:.1f} s")
    return True


def say(message: str, log: Path) -> None:
    """Add a line to a log, or to standard error if that cannot be reached."""
    try:
        with log.open("a") as file:
            file.write(f"{message}\n")
    except OSError:
        sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    sys.exit(main())
