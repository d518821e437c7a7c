"""The manifest: what one step made, from what, and how to know that it is still that.

Large data stays in the store; steps hand each other this small document. Its `id` is the hash of everything
that says *what* the thing is (kind, files, counts, config, parents) and of nothing that says when or where, so
equal work gives an equal id. Laws: `Manifest.read(p) == m` after `m.write(p)`; a folder without its manifest
does not exist for a reader; a file that differs from its manifest is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from llm.errors import DamagedError, UserError
from llm.storage.atomic_write import write_atomically

MANIFEST_NAME = "manifest.json"
CHUNK_BYTES = 1 << 20


class FileEntry(BaseModel):
    """One file of a product: its path below the product's folder, its size and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size_bytes: int
    sha256: str


class Parent(BaseModel):
    """A manifest that this one was made from, enough to find it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    id: str
    uri: str


class Manifest(BaseModel):
    """What a step made: where it lies, its files, its counts, its config and what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    kind: str
    id: str
    uri: str
    files: tuple[FileEntry, ...]
    counts: dict[str, Any] = {}
    config: dict[str, Any] = {}
    parents: tuple[Parent, ...] = ()

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a manifest document; raises UserError if it is missing or is not one."""
        path = Path(path)
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise UserError(f"no manifest at {path}", "Run the step that makes it first.") from error
        except ValidationError as error:
            raise DamagedError(
                f"{path} is not a manifest: {error.errors()[0]['msg']}",
                "Remove it and run the step that makes it again.",
            ) from error

    def write(self, path: Path | str) -> None:
        """Write the document atomically."""
        write_atomically(Path(path), self.model_dump_json(indent=1) + "\n")

    @property
    def folder(self) -> Path:
        """The product's folder on this machine; raises UserError if its URI is not a `file://` one."""
        return local_path(self.uri)

    def file(self, name: str) -> Path:
        """Path of one file, checked against the manifest first; raises DamagedError."""
        entry = next((entry for entry in self.files if entry.path == name), None)
        if entry is None:
            raise UserError(
                f"{self.kind} {self.id} has no file {name}", f"It has: {', '.join(f.path for f in self.files)}"
            )
        return self._checked(entry)

    def verify(self) -> Path:
        """Check every file against the manifest and return the folder; raises DamagedError naming the file."""
        for entry in self.files:
            self._checked(entry)
        return self.folder

    def as_parent(self) -> Parent:
        """The reference that a child keeps."""
        return Parent(kind=self.kind, id=self.id, uri=self.uri)

    def _checked(self, entry: FileEntry) -> Path:
        path = self.folder / entry.path
        what = f"{entry.path} of {self.kind} {self.id}"
        remedy = f"Remove {self.folder} and run again: the step that made it will make it anew."
        if not path.is_file():
            raise DamagedError(f"{what} is missing", f"It should be at {path}.", remedy)
        size = path.stat().st_size
        if size != entry.size_bytes:
            raise DamagedError(
                f"{what} is damaged: its manifest says {entry.size_bytes} bytes, the file has {size}", remedy
            )
        found = sha256_of_file(path)
        if found != entry.sha256:
            raise DamagedError(
                f"{what} is damaged: its manifest says sha256 {entry.sha256[:12]}…, the file has {found[:12]}…"
                f" (both {size} bytes)",
                remedy,
            )
        return path


def identity(
    kind: str,
    files: tuple[FileEntry, ...],
    counts: Mapping[str, Any],
    config: Mapping[str, Any],
    parents: tuple[Parent, ...],
) -> str:
    """The content address of a product: 16 hex digits of the sha256 over what it is, not when or where."""
    document = {
        "kind": kind,
        "files": sorted((entry.path, entry.size_bytes, entry.sha256) for entry in files),
        "counts": counts,
        "config": config,
        "parents": [(parent.kind, parent.id) for parent in parents],
    }
    return sha256_of_json(document)[:16]


def describe_files(folder: Path) -> tuple[FileEntry, ...]:
    """Entries of every file below `folder`, by path, the manifest itself left out."""
    return tuple(
        FileEntry(path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=sha256_of_file(path))
        for path in _walk(folder)
        if path != folder / MANIFEST_NAME
    )


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(document: object) -> str:
    """Hex sha256 of a document in canonical JSON (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def local_path(uri: str) -> Path:
    """Path that a `file://` URI names; raises UserError for any other scheme."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise UserError(f"{uri} is not on this machine", "Only file:// stores are supported in this version.")
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{uri} names the host {parts.netloc}", "A path has three slashes: file:///path/to/store.")
    return Path(unquote(parts.path))


def _walk(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())
