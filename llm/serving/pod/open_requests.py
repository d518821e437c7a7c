"""Requests that a Triton on this machine still owes an answer to, by counts and not by the kernel's clock.

Three counts together leave no gap between a request that was read and an answer that has left:

    gristmill-open-requests-TRITON-PID   from Triton's queue until its last response, by our model (`triton/model.py`)
    nv_inference_pending_request_count   what waits in Triton's queue
    tx_queue, rx_queue (proc(5))         bytes that a client has not taken yet, or that Triton has not read yet

None of them is a time, so nothing here depends on how coarse the kernel's clock is.
"""

from __future__ import annotations

import os
import re
import tempfile
import urllib.request
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

OPEN = "gristmill-open-requests"
"""Begin of the name of the file in which a process of our model keeps its count."""
PENDING = "nv_inference_pending_request_count"
ANSWERED = ("nv_inference_request_success", "nv_inference_request_failure")
ANSWER_SECONDS = 2.0
ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING = 1, 4, 8, 9, 11
WITH_DATA = (ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING)
"""States of a connection in which something may still be sent to the client."""
SAMPLE = re.compile(r"^(\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)
"""A line of Prometheus' text format: name, labels, value."""


@dataclass(frozen=True)
class Requests:
    """Numbers of requests that are open, and that were answered since Triton's start."""

    open: int
    answered: int


def requests(metrics_url: str, ports: Collection[int], triton: int) -> Requests:
    """Requests at the Triton with a process id, by its model, its metrics and the connections to its ports.

    Where its metrics cannot be read, or its model keeps no count (an older repository), every open connection to the
    ports counts as an open request.
    """
    working = in_the_model(triton)
    try:
        with urllib.request.urlopen(metrics_url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http, of this machine
            samples = [(name, float(value)) for name, value in SAMPLE.findall(answer.read().decode())]
    except (OSError, ValueError):
        samples = []
    if working is None or not samples:
        return Requests(open=connections(ports), answered=0)
    waiting = int(sum(value for name, value in samples if name == PENDING))
    return Requests(
        open=working + waiting + connections(ports, busy_only=True),
        answered=int(sum(value for name, value in samples if name in ANSWERED)),
    )


def in_the_model(triton: int) -> int | None:
    """Requests that the living processes of our model work on; None if none of them keeps a count."""
    folder, begin = Path(tempfile.gettempdir()), f"{OPEN}-{triton}-"
    counts = []
    for name in os.listdir(folder):
        if name.startswith(begin) and Path("/proc", name.removeprefix(begin)).exists():
            with suppress(OSError, ValueError):  # just removed, or just made
                counts.append(int((folder / name).read_text()))
    return sum(counts) if counts else None


def connections(ports: Collection[int], *, busy_only: bool = False) -> int:
    """Connections to the ports of this machine that are not closed; `busy_only`: those with bytes on their way."""
    found = 0
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, queues, *_ = line.split()
            ours = int(local.rpartition(":")[2], 16) in ports and int(state, 16) in WITH_DATA
            found += ours and (not busy_only or any(int(queue, 16) for queue in queues.split(":")))
    return found
