"""The processors that this process may use: those that it is bound to, or fewer by its container's limit.

A container sees all processors of its node. A library that starts a thread for each of them is throttled by the
kernel: more threads than the limit make the work slower.
Source: docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`), docs.kernel.org/scheduler/sched-bwc.html (version 1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from llm.process.control_groups import ROOT, Names, limits

THREADS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
"""Variables by which libraries choose their number of threads when they load."""
VERSION_1: Names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
VERSION_2: Names = ("cpu.max",)
"""The files with a limit: a quota and a period, in one file or in two."""


def usable_cpus(root: Path = ROOT) -> int:
    """The number of processors that this process may keep busy, a part of one counted as one; at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(limit) for limit in _limits(root))]))


def keep_to_limit(root: Path = ROOT) -> None:
    """Let the libraries of this process and of its children start no more threads than its container may use.

    A variable that is set stays as it is. It has an effect on libraries that load later.
    """
    cpus = usable_cpus(root)
    if cpus < (os.cpu_count() or 1):
        for name in THREADS:
            os.environ.setdefault(name, str(cpus))


def _limits(root: Path) -> Iterator[float]:
    """The limits of the control groups around this process, in processors."""
    for words in limits(root, "cpu", VERSION_1, VERSION_2):
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # else `max`, -1, or no file
            yield int(words[0]) / int(words[1])
