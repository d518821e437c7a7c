"""The files of this process's control groups that hold a limit: those of a container, and of what is around it.

In a container the folders may begin at its own group, wherever /proc says that the group is.
Source: docs.kernel.org/admin-guide/cgroup-v2.html, docs.kernel.org/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
Names = tuple[str, ...]


def limits(root: Path, controller: str, version_1: Names, version_2: Names) -> Iterator[list[str]]:
    """The words in the files of each group, up to the root; [] where there is no file."""
    for folder, names in _groups(root, controller, version_1, version_2):
        yield " ".join(text_of(folder / name) or "" for name in names).split()


def _groups(root: Path, controller: str, version_1: Names, version_2: Names) -> Iterator[tuple[Path, Names]]:
    mounts = root / "sys" / "fs" / "cgroup"
    for line in (text_of(root / "proc" / "self" / "cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            home, names = mounts, version_2
        elif controller in controllers.split(","):
            home, names = mounts / controllers, version_1
            home = home if home.is_dir() else mounts / controller
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents):
            yield home / folder, names


def text_of(path: Path) -> str | None:
    """The content of a file of the kernel; None if it is not there."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
