"""The manifest: what one step made, from what, and how to know that it is still that.

Large data stays in the store; steps hand each other this small document. Its `id` is the hash of everything
that says *what* the thing is (kind, files, counts, config, parents) and of nothing that says when or where, so
equal work gives an equal id. Laws: `Manifest.read(p) == m` after `m.write(p)`; a folder without its manifest
does not exist for a reader; a file that differs from its manifest is refused by name.

A document holds addresses relative to the store (`corpus/3f9a61c2`), so that a store can be moved, copied or mounted
elsewhere. In memory they are whole. A document outside of the store also says where the store was, relative to the
project's folder if it is in there. Documents of earlier versions hold whole addresses, which end the same way: the
reader's own store comes first, and what is not there is read where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm.errors import DamagedError, UserError
from llm.storage.atomic_write import write_atomically
from llm.storage.hashes import sha256_of_file, sha256_of_json
from llm.storage.objects import FileEntry, describe
from llm.storage.open import open_objects
from llm.storage.uri import cache_folder, is_s3, local_path, store_at, store_hint

MANIFEST_NAME = "manifest.json"
SCHEMA = 1
"""Version of the document that this code writes; a document of a later one is refused, not taken for damage."""
FETCHES = 4
"""Files that come down from S3 at the same time; each large one in several parts."""


class Parent(BaseModel):
    """A manifest that this one was made from, enough to find it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    id: str
    uri: str


class Manifest(BaseModel):
    """The description of a product: where it lies, its files, its counts, its config and what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(le=SCHEMA)] = SCHEMA
    kind: str
    id: str
    uri: str
    files: tuple[FileEntry, ...]
    counts: dict[str, Any] = {}
    """As they were written, since the id is a hash over them; `llm.storage.products` reads them by kind."""
    config: dict[str, Any] = {}
    parents: tuple[Parent, ...] = ()

    @classmethod
    def read(
        cls, path: Path | str, *stores: str, project: Path | None = None, store: Callable[[], str | None] | None = None
    ) -> Manifest:
        """Read a manifest document; raises UserError if it is missing or is not one.

        The product is looked for in `stores` first, then where the document says: `project` is what this is
        relative to. For a document of an earlier version, which does not say it, `store` does.
        """
        path = Path(path)
        try:
            return cls.parsed(path.read_bytes(), str(path), *stores, project=project, store=store)
        except FileNotFoundError as error:
            raise UserError(f"no manifest at {path}", "Run the step that makes it first.") from error

    @classmethod
    def read_uri(cls, uri: str) -> Manifest:
        """Read the manifest of the product at a `file:` or `s3://` URI; raises UserError if there is none."""
        uri = uri.rstrip("/")
        content = open_objects(uri).read(MANIFEST_NAME)
        if content is None:
            raise UserError(f"there is no product at {uri}", f"It has no {MANIFEST_NAME}, which is written last.")
        manifest = cls.parsed(content, f"{uri}/{MANIFEST_NAME}")
        at_home = manifest.at(uri.removesuffix(f"/{manifest.kind}/{manifest.id}"))
        return at_home if at_home.uri == uri else manifest.model_copy(update={"uri": uri})

    @classmethod
    def find(cls, name: str, stores: Iterable[str]) -> Manifest | None:
        """The manifest of the product `kind/id` in the first of the stores that has it; None if none has."""
        for store in dict.fromkeys(stores):
            if open_objects(f"{store}/{name}").read(MANIFEST_NAME) is not None:
                return cls.read_uri(f"{store}/{name}")
        return None

    @classmethod
    def parsed(
        cls,
        content: bytes,
        where: str,
        *stores: str,
        project: Path | None = None,
        store: Callable[[], str | None] | None = None,
    ) -> Manifest:
        """The document in `content`; raises DamagedError, naming where it came from, if it is not one."""
        try:
            document = _Document.model_validate_json(content)
        except ValidationError as error:
            if (version := _later_version(content)) is not None:
                raise UserError(
                    f"{where} was written by a later version of Gristmill (schema {version}, this one reads {SCHEMA})",
                    "Use that version, or make the product again in another store.",
                ) from error
            raise DamagedError(
                f"{where} is not a manifest: {error.errors()[0]['msg']}",
                "Remove it and run the step that makes it again.",
            ) from error
        manifest = Manifest.model_validate(document.model_dump(exclude={"store"}))
        there = store_at(document.store, project) if document.store else store() if store else None
        return manifest.in_one_of(*stores, *([there] if there else []))

    def in_one_of(self, *stores: str) -> Manifest:
        """The manifest at the first of the stores that has its product; at the first of all if none has it.

        The store of a whole address, as earlier versions wrote it, comes last.
        """
        before = self._store()
        candidates = list(dict.fromkeys([*stores, *([before] if before else [])]))
        if (name := self._name_in_store()) is None or len(candidates) < 2:  # no choice: no server is asked
            return self.at(candidates[0]) if candidates else self
        has_it = (one for one in candidates if open_objects(f"{one}/{name}").read(MANIFEST_NAME) is not None)
        return self.at(next(has_it, candidates[0]))

    def at(self, store: str) -> Manifest:
        """The manifest with the addresses that it and its parents have in a store."""
        before = self._store()
        parents = []
        for parent in self.parents:
            name = f"{parent.kind}/{parent.id}"
            is_here = parent.uri in (name, f"{before}/{name}")  # and not in another store
            parents.append(parent.model_copy(update={"uri": f"{store}/{name}"}) if is_here else parent)
        own = self._name_in_store()
        return self.model_copy(update={"uri": self.uri if own is None else f"{store}/{own}", "parents": tuple(parents)})

    def write(self, path: Path | str, project: Path | None = None) -> None:
        """Write the document atomically; with `project`, also where the store is, seen from that folder."""
        write_atomically(Path(path), self.document(project))

    def document(self, project: Path | None = None) -> bytes:
        """The document as it is written: addresses relative to the store."""
        store = self._store()
        parents = tuple(
            parent.model_copy(update={"uri": parent.uri.removeprefix(f"{store}/")}) if store else parent
            for parent in self.parents
        )
        document = _Document.model_validate(
            {
                **dict(self), "uri": self.address, "parents": parents,
                "store": store_hint(store, project) if store and project is not None else None,
            }
        )  # fmt: skip
        left_out = set() if document.store else {"store"}
        return (document.model_dump_json(indent=1, exclude=left_out) + "\n").encode()

    def _store(self) -> str | None:
        """URI of the store, by the whole address of the product or, if it is in no store, of a parent."""
        products: tuple[Manifest | Parent, ...] = (self, *self.parents)
        for one in products:
            name = f"{one.kind}/{one.id}"
            if one.uri.endswith(f"/{name}"):
                return one.uri.removesuffix(f"/{name}")
            if one.uri == name:
                return None
        return None

    def _name_in_store(self) -> str | None:
        """The product's name in its store; None for what is in none (a version of the registry)."""
        name = f"{self.kind}/{self.id}"
        return name if self.uri == name or self.uri.endswith(f"/{name}") else None

    @property
    def folder(self) -> Path:
        """The product's folder on this machine: where it is, or where `file` and `verify` fetch it to from S3."""
        if self.uri == f"{self.kind}/{self.id}":
            raise UserError(
                f"the store of {self.kind} {self.id} is not known", "Name it with storage.uri, or run its step again."
            )
        return cache_folder() / self.kind / self.id if is_s3(self.uri) else local_path(self.uri)

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
        if is_s3(self.uri):
            with ThreadPoolExecutor(FETCHES) as pool:
                list(pool.map(self._checked, self.files))
        else:
            for entry in self.files:
                self._checked(entry)
        return self.folder

    @property
    def address(self) -> str:
        """The address in the store, `kind/id`; the whole URI of what is in none (a version of the registry)."""
        return self._name_in_store() or self.uri

    def as_parent(self) -> Parent:
        """The reference that a child keeps."""
        return Parent(kind=self.kind, id=self.id, uri=self.uri)

    def _checked(self, entry: FileEntry) -> Path:
        if is_s3(self.uri):
            return self._fetched(entry)
        path = self.folder / entry.path
        what = f"{entry.path} of {self.kind} {self.id}"
        remedy = f"Remove {self.folder} and run again: the step that made it makes it again."
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

    def _fetched(self, entry: FileEntry) -> Path:
        try:
            return open_objects(self.uri).fetch(entry, self.folder)
        except DamagedError as error:
            raise DamagedError(
                f"{entry.path} of {self.kind} {self.id}: {error}",
                f"Remove {self.uri} and run again: the step that made it makes it again.",
            ) from error


class _Document(Manifest):
    """A manifest as it is written."""

    store: str | None = None
    """Outside of the store: where it is, as a URI, or relative to the folder of the project."""


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
        describe(path, path.relative_to(folder).as_posix()) for path in _walk(folder) if path != folder / MANIFEST_NAME
    )


def _walk(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def _later_version(content: bytes) -> int | None:
    """The schema of a document that a later version wrote; None for any other content."""
    try:
        version = json.loads(content)["schema_version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) and version > SCHEMA else None
