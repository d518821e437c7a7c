"""Memory: the most that this process may have, and the peak of it and of everything it started, also in containers.

The unit of account is the proportional set size (PSS): pages shared by several processes count once, so the
sum over the tree is what the run really needs. Linux only; elsewhere the peak is None.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from llm.process.control_groups import ROOT, limits

SAMPLE_SECONDS = 2.0
VERSION_1, VERSION_2 = ("memory.limit_in_bytes",), ("memory.max",)


def usable_bytes(root: Path = ROOT) -> int:
    """This machine's memory, or less by a limit of the container. It does not depend on what is free now."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    found += [int(words[0]) for words in limits(root, "memory", VERSION_1, VERSION_2) if words and words[0].isdigit()]
    return min(found)


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
