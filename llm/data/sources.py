"""The user's files: which ones a path names, their fingerprints, and their bytes, decompressed on the way.

`data.path` is a file, a folder (everything below it, hidden names left out) or a glob (`**` for any depth). The order
is that of the names, so it is the same on every machine. Names are relative to the folder, or to the part of a glob
before its first wildcard: nothing that is made depends on where the input lies.
"""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from llm.errors import UserError
from llm.storage import sha256_of_file, user_path

BUFFER_BYTES = 1 << 20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class InputFile:
    """A file to read: where it is, what it is called in the corpus, and how it looked when it was found."""

    path: Path
    name: str
    size_bytes: int
    modified_ns: int

    @property
    def compression(self) -> str | None:
        """`gzip`, `zstd` or None, by the name."""
        return COMPRESSIONS.get(self.path.suffix.lower())

    @property
    def format(self) -> str:
        """The name's ending in lower case, the compression left out: `.jsonl`, `.parquet`, `.txt`, or nothing."""
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

    def _decompressed(self, file: BinaryIO) -> BinaryIO:
        # Arrow's streams, unlike zstandard's, notice a file that was cut short.
        stream = pa.input_stream(pa.PythonFile(file, mode="r"), compression=self.compression)
        return cast(BinaryIO, io.BufferedReader(stream, BUFFER_BYTES))


def find_files(path: str) -> list[InputFile]:
    """The files that a path, folder or glob names, by name; raises UserError if there are none."""
    try:
        return _find(path)
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a NUL in it
        raise UserError(f"data.path={path} cannot be looked up: {getattr(error, 'strerror', None) or error}") from error


def _find(path: str) -> list[InputFile]:
    root = user_path(path)
    if root.is_dir():
        return files_below(root) or _nothing(f"the folder {path} has no files", "Hidden files are not read.")
    if root.is_file():
        return [_input_file(root, root.parent)]
    if glob.has_magic(path):
        paths = {Path(match) for match in glob.iglob(str(root), recursive=True)}
        found = [_input_file(match, _fixed_part(root)) for match in paths if match.is_file()]
        return sorted(found, key=lambda file: file.name) or _nothing(
            f"no file matches {path}",
            "`*` stays in one folder; `**/*` matches at any depth. Quote the glob in the shell.",
        )
    if root.exists():
        raise UserError(f"data.path={path} is neither a file nor a folder")
    raise UserError(
        f"data.path={path} does not exist",
        f"It was looked for at {root.absolute()}.",
        "Give a file, a folder, a glob, or `stdlib` for the standard library of this Python.",
    )


def files_below(root: Path, wanted: Callable[[Path], bool] = lambda path: True) -> list[InputFile]:
    """All files below a folder that are wanted, by name; hidden files and folders are left out, and so is a folder
    that is not wanted, with all that is in it."""
    found = []
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(folder)
        folders[:] = [name for name in folders if not name.startswith(".") and wanted(here / name)]
        paths = (here / name for name in names if not name.startswith("."))
        found += [_input_file(path, root) for path in paths if path.is_file() and wanted(path)]
    return sorted(found, key=lambda file: file.name)


def fingerprint(files: Iterable[InputFile]) -> list[tuple[str, int, str]]:
    """Name, size and sha256 of every file; raises UserError for one that cannot be read."""
    try:
        return [(file.name, file.size_bytes, sha256_of_file(file.path)) for file in files]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error


def check_unchanged(files: Sequence[InputFile]) -> None:
    """Raise UserError if a file is not as it was when it was found: its fingerprint would be another's."""
    for file in files:
        now = file.path.stat() if file.path.exists() else None
        if now is None or (now.st_size, now.st_mtime_ns) != (file.size_bytes, file.modified_ns):
            raise UserError(
                f"{file.path} was {'removed' if now is None else 'changed'} while it was read",
                "Let whatever writes there finish, and run again.",
            )


def _input_file(path: Path, root: Path) -> InputFile:
    state = path.stat()
    # A name on disk is bytes and need not be UTF-8; in the corpus it must be.
    name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
    return InputFile(path, name, state.st_size, state.st_mtime_ns)


def _fixed_part(pattern: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def _nothing(message: str, *details: str) -> list[InputFile]:
    raise UserError(message, *details)
