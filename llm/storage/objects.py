"""Named contents below one address: a folder of this machine, or a prefix of an S3 bucket, behind the same few verbs.

Everything in a store goes through here: products, recipes, the checkpoints of a training in progress. Names are
relative, with `/`. Laws: `read(n) == c` after `write(n, c)`; a reader sees a whole content or none; `fetch(put(p, n))`
has the content that `p` had.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from llm.errors import DamagedError
from llm.storage.atomic_write import sync, write_atomically
from llm.storage.hashes import sha256_of_file
from llm.storage.uri import is_s3, local_path


class FileEntry(BaseModel):
    """One file of a product: its path below the product's address, its size and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size_bytes: int
    sha256: str


class Objects(Protocol):
    """Contents by name below `uri`."""

    uri: str

    def below(self, name: str) -> Objects:
        """The same, one level further down."""

    def read(self, name: str) -> bytes | None:
        """A small content; None if there is none of that name."""

    def write(self, name: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Put a small content in one step; with `if_absent`, False and no change if there is one already."""

    def put(self, path: Path, name: str) -> FileEntry:
        """Take a file of this machine over, and describe it; afterwards it may be gone from where it was."""

    def fetch(self, entry: FileEntry, into: Path) -> Path:
        """A file of this machine with exactly that content, in place or below `into`; raises DamagedError."""

    def problem(self, entry: FileEntry) -> str | None:
        """What is wrong with a content, in a few words; None if it is as described."""

    def names(self, prefix: str = "") -> list[str]:
        """Names that begin with `prefix`, sorted."""

    def remove(self, prefix: str) -> None:
        """Remove all that begins with `prefix`; nothing is wrong if there is nothing."""

    def check_access(self) -> None:
        """Raise UserError or ServiceError, naming what is wrong, unless we may list and write here."""


def open_objects(uri: str) -> Objects:
    """What lies at a `file://` or `s3://` URI; nothing is asked or made before it is used."""
    if is_s3(uri):
        from llm.storage.s3 import S3Objects

        return S3Objects.at(uri)
    return LocalObjects(local_path(uri))


def describe(path: Path, name: str) -> FileEntry:
    """The entry of a file under a name."""
    return FileEntry(path=name, size_bytes=path.stat().st_size, sha256=sha256_of_file(path))


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
