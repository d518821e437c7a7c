"""The processors that this process may use: those that it is bound to, or fewer by its container's limit.

A container sees all processors of its node. A library that starts a thread for each of them is throttled by the
kernel: more threads than the limit make the work slower.
Source: docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`), docs.kernel.org/scheduler/sched-bwc.html (version 1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

THREADS = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
"""Variables by which libraries choose their number of threads when they load."""
ROOT = Path("/")
Names = tuple[str, ...]
VERSION_1: Names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
VERSION_2: Names = ("cpu.max",)
"""The files with a limit: a quota and a period, in one file or in two."""


def usable_cpus(root: Path = ROOT) -> int:
    """The number of processors that this process may keep busy, a part of one counted as one; at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [math.ceil(limit) for limit in _limits(root)]
    return max(1, min([bound, *limits]))


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
    for folder, names in _groups(root):
        words = " ".join(_text(folder / name) or "" for name in names).split()
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # else `max`, -1, or no file
            yield int(words[0]) / int(words[1])


def _groups(root: Path) -> Iterator[tuple[Path, Names]]:
    """The folders of our control groups, up to the root, and the files that hold a limit there.

    In a container the folders may begin at its own group, wherever /proc says that the group is.
    """
    mounts = root / "sys" / "fs" / "cgroup"
    for line in (_text(root / "proc" / "self" / "cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            home, names = mounts, VERSION_2
        elif "cpu" in controllers.split(","):
            home, names = mounts / controllers, VERSION_1
            home = home if home.is_dir() else mounts / "cpu"
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents):
            yield home / folder, names


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
