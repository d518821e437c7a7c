"""Contents in a folder of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from llm.errors import DamagedError
from llm.storage.atomic_write import sync, write_atomically
from llm.storage.hashes import sha256_of_file
from llm.storage.objects import FileEntry, describe


class LocalObjects:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.absolute().as_uri()

    def below(self, name: str) -> LocalObjects:
        """A folder further down."""
        return LocalObjects(self.root / name)

    def read(self, name: str) -> bytes | None:
        """Content of a file."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Write a file atomically. Two writers with `if_absent` in the same moment may both succeed."""
        if if_absent and (self.root / name).exists():
            return False
        write_atomically(self.root / name, content)
        return True

    def put(self, path: Path, name: str) -> FileEntry:
        """Flush a file to the disk and give it its name by a rename, or by a copy from another disk."""
        sync(path)
        entry = describe(path, name)
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(path, target)
        except OSError as error:
            if not _is_another_disk(path, target.parent):
                raise error
            shutil.move(path, target)
            sync(target)
        sync(target.parent)
        return entry

    def fetch(self, entry: FileEntry, into: Path) -> Path:
        """The file where it is."""
        if (problem := self.problem(entry)) is not None:
            raise DamagedError(f"{self.root / entry.path} {problem}")
        return self.root / entry.path

    def problem(self, entry: FileEntry) -> str | None:
        """Whether the file is there with its size and hash."""
        path = self.root / entry.path
        if not path.is_file():
            return "is missing"
        if path.stat().st_size != entry.size_bytes or sha256_of_file(path) != entry.sha256:
            return "is not what was written"
        return None

    def names(self, prefix: str = "") -> list[str]:
        """Files below the folder; temporary ones of `write` left out."""
        found = (path for path in self.root.rglob("*") if path.is_file() and not path.name.startswith("."))
        return sorted(name for path in found if (name := path.relative_to(self.root).as_posix()).startswith(prefix))

    def remove(self, prefix: str) -> None:
        """Remove files by name, or a whole folder by its name with `/` at the end."""
        if prefix.endswith("/"):
            shutil.rmtree(self.root / prefix, ignore_errors=True)
        else:
            (self.root / prefix).unlink(missing_ok=True)

    def check_access(self) -> None:
        """Nothing to ask: a folder that cannot be made or written says so itself, and at once."""


def _is_another_disk(path: Path, folder: Path) -> bool:
    return path.stat().st_dev != folder.stat().st_dev
