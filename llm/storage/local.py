"""Contents in a folder of this machine."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.errors import DamagedError
from llm.storage.atomic_write import NO_FSYNC, fresh_file, make_folder, no_fsync, sync, write_atomically
from llm.storage.disk import NOT_ALLOWED, not_allowed, strerror
from llm.storage.hashes import sha256_of_file
from llm.storage.lock import check_locks
from llm.storage.objects import FileEntry, describe


class LocalObjects:
    """Files below a folder; raises UserError for a file that the user may not read or write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.absolute().as_uri()

    def below(self, name: str) -> LocalObjects:
        """A folder further down."""
        return LocalObjects(self.root / name)

    def read(self, name: str) -> bytes | None:
        """Content of a file."""
        with allowed(self.root / name):
            try:
                return (self.root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Write a file atomically. Two writers with `if_absent` in the same moment may both succeed."""
        with allowed(self.root / name):
            if if_absent and (self.root / name).exists():
                return False
            write_atomically(self.root / name, content)
        return True

    def put(self, path: Path, name: str) -> FileEntry:
        """Flush a file to the disk and give it its name by a rename, or by a copy from another disk."""
        sync(path)
        entry = describe(path, name)
        target = self.root / name
        with allowed(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.replace(path, target)
            except OSError as error:
                if not _is_another_disk(path, target.parent):
                    raise error
                _copy(path, target)
                path.unlink()
        sync(target.parent)
        return entry

    def fetch(self, entry: FileEntry, into: Path, *, checked: bool = False) -> Path:
        """The file where it is."""
        if not checked and (problem := self.problem(entry)) is not None:
            raise DamagedError(f"{self.root / entry.path} {problem}")
        return self.root / entry.path

    def problem(self, entry: FileEntry) -> str | None:
        """Whether the file is there with its size and hash."""
        path = self.root / entry.path
        with allowed(path):
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
            with allowed(self.root / prefix):
                (self.root / prefix).unlink(missing_ok=True)

    def check_access(self) -> list[str]:
        """Write, lock, flush and remove a small folder; raises UserError for what a run cannot do without."""
        make_folder(self.root)
        probe = self.root / f".access-{uuid.uuid4().hex[:8]}"
        warnings = []
        with allowed(probe):
            probe.mkdir()
            try:
                check_locks(probe)
                LocalObjects(probe).write("file", b"x")
                if (reason := _why_no_flush(probe)) is not None:
                    warnings.append(no_fsync(reason))
            finally:
                shutil.rmtree(probe, ignore_errors=True)
        return warnings


@contextmanager
def allowed(path: Path) -> Iterator[None]:
    """Turn the system's refusal of a file in the body into UserError: whose it is, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_ALLOWED:
            raise
        raise not_allowed(error, path) from error


def _copy(path: Path, target: Path) -> None:
    """Copy a file's content in one step; its mode is that of a new file."""
    descriptor, temporary = fresh_file(target)
    os.close(descriptor)
    try:
        shutil.copyfile(path, temporary)
        sync(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _why_no_flush(folder: Path) -> str | None:
    """The system's reason, if it cannot flush a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
        return strerror(error)
    finally:
        os.close(descriptor)
    return None


def _is_another_disk(path: Path, folder: Path) -> bool:
    return path.stat().st_dev != folder.stat().st_dev
