"""Tokens a second of a Triton in a pod, against the same Triton, with the same model, on this machine.

    python benchmarks/serving_in_a_pod.py s3://BUCKET/PREFIX/repository/ID http://NODE:PORT [COMMAND]

The address is that of a release of charts/gristmill-serving with `model.uri` set to that repository (its NodePort, on a
node that is this machine: a cluster elsewhere is measured with its network and processor). `make triton` installs the
other one; it gets as many threads as the pod has (GRISTMILL_CPUS, 1 unless set).

Two processes of one server differ by up to a tenth for as long as they live, wherever they run, so several pairs are
measured: COMMAND, run by the shell, replaces the pod and waits for its successor (`kubectl delete pod …`, then
`kubectl rollout status …`); without it, only the server here is started again. Eight clients stream from one and then
from the other, in short turns and with the order changing, so that a busy machine slows both alike. The figure is the
median of all turns' ratios.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PAIRS = 4
ROUNDS = 3
ROUND_SECONDS = 1.2
STREAMS = 8
TOKENS = 50
MODEL = "gristmill"
TARGET = 0.95


@dataclass(frozen=True)
class Comparison:
    """Tokens a second, a figure a turn."""

    host: list[float]
    pod: list[float]

    @property
    def ratio(self) -> float:
        """Median over the turns of pod by host."""
        return statistics.median(pod / host for pod, host in zip(self.pod, self.host, strict=True))

    @property
    def fastest(self) -> float:
        """Pod by host in the fastest turn of each, which says most on a machine that does other things too."""
        return max(self.pod) / max(self.host)

    def __str__(self) -> str:
        """The figures as they are printed and kept."""
        return "\n".join(
            f"{name:<9} {statistics.median(figures):7.0f} tokens/s   (fastest turn {max(figures):.0f})"
            for name, figures in (("host", self.host), ("pod", self.pod))
        ) + (
            f"\npod / host: {self.ratio:.3f}   target {TARGET}   {'ok' if self.ratio >= TARGET else 'MISSED'}"
            f"   (fastest turns {self.fastest:.3f})"
        )


def main() -> int:
    """Measure and print; 1 if the target is missed."""
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    uri, pod_url, command = (*sys.argv[1:], "")[:3]
    comparison = compare(uri, pod_url, lambda: subprocess.run(command, shell=True, check=True, stdout=sys.stderr))
    print(comparison)
    return 0 if comparison.ratio >= TARGET else 1


def compare(uri: str, pod_url: str, replace_pod: Callable[[], object], enough: float = math.inf) -> Comparison:
    """Serve the repository here too, and let both answer in turns; then the same with two other processes.

    With `enough`, no more pairs are measured once the ratio is as high as that.
    """
    from llm.serving.pod.fetch import fetch_repository
    from llm.serving.triton.endpoints import free_endpoints
    from llm.serving.triton.server import TritonServer, find_installation

    os.environ.setdefault("GRISTMILL_CPUS", "1")
    comparison = Comparison([], [])
    with tempfile.TemporaryDirectory(prefix="gristmill-benchmark-") as folder:
        fetch_repository(uri, Path(folder))
        for pair in range(PAIRS):
            replace_pod()
            with TritonServer(find_installation(), Path(folder), free_endpoints()) as server:
                server.load(MODEL)
                _take_turns({server.url: comparison.host, pod_url: comparison.pod}, pair)
            if comparison.ratio >= enough:
                break
    return comparison


def _take_turns(measured: dict[str, list[float]], first: int) -> None:
    for url in measured:  # warms up
        tokens_per_second(url)
    for number in range(first, first + ROUNDS):
        for url in list(measured)[:: 1 if number % 2 else -1]:
            measured[url].append(tokens_per_second(url))


def tokens_per_second(url: str, seconds: float = ROUND_SECONDS) -> float:
    """All tokens of the answers that eight clients got, one after the other each, by the time that they took."""
    start = time.monotonic()
    with ThreadPoolExecutor(STREAMS) as pool:
        tokens = sum(pool.map(lambda index: _stream_until(url, start + seconds, index), range(STREAMS)))
    return tokens / (time.monotonic() - start)


def _stream_until(url: str, deadline: float, index: int) -> int:
    from llm.serving.triton.client import stream

    tokens = 0
    while time.monotonic() < deadline:
        tokens += sum(1 for _ in stream(url, MODEL, f"def f{index}(", max_tokens=TOKENS))
    return tokens


if __name__ == "__main__":
    sys.exit(main())
