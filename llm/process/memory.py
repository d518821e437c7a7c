"""Peak memory of a process and everything it started, here or in containers.

The unit of account is the proportional set size (PSS): pages shared by several processes count once, so the
sum over the tree is what the run really needs. Linux only; elsewhere the peak is None.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

SAMPLE_SECONDS = 2.0


class MemorySampler:
    """Samples the tree below this process in a thread; `peak_bytes` is the largest sum seen."""

    def __init__(self, others: Callable[[], list[int]] = list) -> None:
        """`others` names processes elsewhere whose trees count too."""
        self._others = others
        self.peak_bytes: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-sampler", daemon=True)

    def __enter__(self) -> MemorySampler:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            roots = [os.getpid(), *self._others()]
            if total := sum(map(_pss_bytes, {pid for root in roots for pid in (root, *descendants(root))})):
                self.peak_bytes = max(self.peak_bytes or 0, total)
            if self._stop.wait(SAMPLE_SECONDS):
                return


def descendants(root: int) -> list[int]:
    """Process ids of everything below `root`, at any depth."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        children[int(fields[1])].append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        below = children[queue.pop()]
        found += below
        queue += below
    return found


def _pss_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
