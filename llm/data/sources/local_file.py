"""A file of this machine, and its bytes, decompressed on the way."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from llm.errors import UserError
from llm.storage import sha256_of_file

BUFFER_BYTES = 1 << 20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class LocalFile:
    """A file to read: where it is, what it is called in the corpus, and how it looked when it was found."""

    path: Path
    name: str
    size_bytes: int
    modified_ns: int

    @classmethod
    def below(cls, root: Path, path: Path) -> LocalFile:
        """The file at `path`, called by its way from `root`."""
        state = path.stat()
        # A name on disk is bytes and need not be UTF-8; in the corpus it must be.
        name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
        return cls(path, name, state.st_size, state.st_mtime_ns)

    @property
    def compression(self) -> str | None:
        """`gzip`, `zstd` or None, by the name."""
        return COMPRESSIONS.get(self.path.suffix.lower())

    @property
    def format(self) -> str:
        """The name's ending in lower case, without that of the compression: `.jsonl`, `.txt`, or nothing."""
        return Path(self.path.stem if self.compression else self.path.name).suffix.lower()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file's bytes, decompressed; raises UserError if it cannot be read or is damaged."""
        try:
            with self.path.open("rb") as file:
                yield file if self.compression is None else self._decompressed(file)
        except (PermissionError, FileNotFoundError) as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error
        except OSError as error:
            if error.errno is not None or self.compression is None:
                raise
            raise UserError(
                f"{self.path} is damaged, or not {self.compression}: {error}",
                "Copy it again, or take it out of data.path.",
            ) from error

    def fingerprint(self) -> str:
        """Hex sha256 of the file as it is stored; raises UserError if it cannot be read."""
        try:
            return sha256_of_file(self.path)
        except OSError as error:
            raise UserError(f"cannot read {error.filename}: {error.strerror}") from error

    def check_unchanged(self) -> None:
        """Raise UserError if size or time are not as they were when the file was found."""
        now = self.path.stat() if self.path.exists() else None
        if now is None or (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise UserError(
                f"{self.path} was {'removed' if now is None else 'changed'} while it was read",
                "Wait until no other program writes there, and run again.",
            )

    def _decompressed(self, file: BinaryIO) -> BinaryIO:
        import pyarrow as pa

        # Arrow's streams, unlike zstandard's, notice a file that was cut short.
        stream = pa.input_stream(pa.PythonFile(file, mode="r"), compression=self.compression)
        return cast(BinaryIO, io.BufferedReader(stream, BUFFER_BYTES))


def files_below(root: Path, wanted: Callable[[Path], bool] = lambda path: True) -> list[LocalFile]:
    """All files below a folder that are wanted, by name; raises UserError for a folder that cannot be read.

    Hidden files and folders are left out. A folder that is not wanted is left out with all that is in it.
    """
    found = []
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(folder)
        folders[:] = [name for name in folders if not name.startswith(".") and wanted(here / name)]
        paths = (here / name for name in names if not name.startswith("."))
        found += [LocalFile.below(root, path) for path in paths if path.is_file() and wanted(path)]
    return sorted(found, key=lambda file: file.name)


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot read the folder {error.filename}: {error.strerror}") from error
