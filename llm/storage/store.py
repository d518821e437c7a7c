"""The store: products under content addresses, and the recipes that lead to them.

    <store>/<kind>/<id>/            a product: its files and, written last, manifest.json
    <store>/recipes/<recipe>.json   the manifest that this recipe led to
    <store>/recipes/newest/<step>.json  what the step's latest recipe was made of: so a rerun can say what changed
    <store>/names/<kind>/<run>@<n>  the id of a product, under a name that people can read
    <store>/training/<key>/         a training in progress (its own checkpoints live there)

A *recipe* is all that decides a result: the step, its config, its parents and the sources of the code that
does it. Finding a recipe again means that the work need not be done again; since nothing that could change
the result is left out, a hit cannot be stale. A product is built on this machine; in a folder it appears by one
rename, in S3 by its manifest, which goes up last: either way it is whole or absent. No file of a store names the
store's own place, so a store can be moved, copied or mounted elsewhere.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from llm.errors import DamagedError
from llm.storage.atomic_write import make_folder, sync, warn_once
from llm.storage.disk import disk_full, is_disk_full, strerror
from llm.storage.local import LocalObjects, allowed
from llm.storage.lock import has_no_locks, one_at_a_time, try_lock
from llm.storage.manifest import MANIFEST_NAME, Manifest, Parent, describe_files, identity
from llm.storage.objects import Objects
from llm.storage.open import open_objects
from llm.storage.products.counts import Counts
from llm.storage.recipe import Parts, Recipe, newest_name, recipe_name
from llm.storage.s3 import S3Objects
from llm.storage.uri import cache_folder, folder_of, is_s3

PARTIAL = ".partial-"
ABANDONED_AFTER_SECONDS = 60
IS_THERE = (errno.ENOTEMPTY, errno.EEXIST)


@dataclass(frozen=True)
class Stage:
    """A product in the making: write files below `path`, then commit once."""

    path: Path
    _store: Store
    _kind: str
    _recipe: Recipe

    def commit(self, counts: Counts | None = None) -> Manifest:
        """Seal the product: hash it, name it by its content, and let it appear in one rename."""
        files = describe_files(self.path)
        parents: tuple[Parent, ...] = tuple(parent.as_parent() for parent in self._recipe.parents)
        assert counts is None or counts.kind == self._kind, f"{type(counts).__name__} of a {self._kind}"
        document = {} if counts is None else counts.document()
        config = dict(self._recipe.config)
        product_id = identity(self._kind, files, document, config, parents)
        manifest = Manifest(
            kind=self._kind,
            id=product_id,
            uri=self._store.objects.below(f"{self._kind}/{product_id}").uri,
            files=files,
            counts=document,
            config=config,
            parents=parents,
        )
        self._store.place(self.path, manifest)
        self._store.objects.write(recipe_name(self._recipe), manifest.document())
        self._store.keep_parts(self._recipe)
        return manifest


class Store:
    """Products by content address, in a folder or in S3."""

    def __init__(self, uri: str | Path) -> None:
        """Open the store at a path, a `file:` or an `s3://` URI; nothing is made before it is written."""
        text = str(uri)
        self.objects: Objects
        if is_s3(text):
            self.objects = open_objects(text)
            self.root = cache_folder()
        else:
            self.root = Path(os.path.realpath(folder_of(text)))  # Path.resolve raises for links in a circle
            self.objects = LocalObjects(self.root)
        self.is_remote = is_s3(text)
        """Whether other machines can reach it."""
        self.found: set[str] = set()
        """Ids of the products that `find` gave out: work that was not done again."""
        self.on_find: Callable[[Recipe, Manifest | None], None] | None = None
        """Called with what `find` looked for and what it found, before the work that depends on it."""

    def find(self, recipe: Recipe) -> Manifest | None:
        """The manifest that this recipe led to, if it is there; else None.

        The reader of the product checks its contents, not this function.
        """
        manifest = self.led_to(recipe)
        if manifest is not None and open_objects(manifest.uri).read(MANIFEST_NAME) is None:
            manifest = None
        if manifest is not None:
            self.found.add(manifest.id)
        if self.on_find is not None:
            self.on_find(recipe, manifest)
        return manifest

    def led_to(self, recipe: Recipe) -> Manifest | None:
        """The manifest that this recipe led to, whether its product is still there or not; None if it led to none."""
        content = self.objects.read(recipe_name(recipe))
        if content is None:
            return None
        return Manifest.parsed(content, f"{self.objects.uri}/{recipe_name(recipe)}").at(self.objects.uri)

    def keep_parts(self, recipe: Recipe) -> None:
        """Remember the parts of the newest recipe of its step."""
        self.objects.write(newest_name(recipe.step), json.dumps(recipe.parts, default=str).encode())

    def newest_parts(self, step: str) -> Parts | None:
        """The parts of a step's newest recipe; None if there is no record, or one that cannot be read."""
        try:
            return cast("Parts", json.loads(self.objects.read(newest_name(step)) or b"null"))
        except ValueError:
            return None

    def has_made(self, step: str) -> bool:
        """Whether any recipe of this step led to a product here."""
        return bool(self.objects.below("recipes").names(f"{step}-"))

    @contextmanager
    def stage(self, kind: str, recipe: Recipe) -> Iterator[Stage]:
        """A fresh folder to build a product in; files that were not committed are gone at the end.

        Raises UserError when the disk is full, naming the store.
        """
        parent = self.root / kind
        make_folder(parent)
        _remove_abandoned(parent)
        folder = parent / f"{PARTIAL}{uuid.uuid4().hex[:8]}"
        with allowed(folder):
            folder.mkdir()
        holder = os.open(folder, os.O_RDONLY)
        try:
            _hold(holder)
            yield Stage(folder, self, kind, recipe)
        except Exception as error:
            if is_disk_full(error):
                raise disk_full(self.root, error) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(holder)

    def place(self, folder: Path, manifest: Manifest) -> None:
        """Bring a finished folder to its address; one that is already there and whole stays."""
        if self.is_remote:
            self._upload(folder, manifest)
        else:
            self._move(folder, manifest)

    def _upload(self, folder: Path, manifest: Manifest) -> None:
        home = S3Objects.at(manifest.uri)
        whole = home.read(MANIFEST_NAME) is not None and not any(map(home.problem, manifest.files))
        if not whole:
            home.put_all({entry.path: folder / entry.path for entry in manifest.files})
            home.write(MANIFEST_NAME, manifest.document())
        if not manifest.folder.exists():  # the next step on this machine need not fetch it
            manifest.folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                os.rename(folder, manifest.folder)

    def _move(self, folder: Path, manifest: Manifest) -> None:
        for path in folder.rglob("*"):  # before the rename: a power cut must not leave a whole manifest of empty files
            sync(path)
        manifest.write(folder / MANIFEST_NAME)
        home = manifest.folder
        with allowed(home):
            if not _renamed(folder, home) and not _replaced(folder, manifest):
                return
        sync(home.parent)

    def forget(self, recipe: Recipe) -> None:
        """Drop the way from a recipe to its result, so that the work is done again; products stay."""
        self.objects.remove(recipe_name(recipe))

    def working_folder(self, recipe: Recipe) -> Path:
        """A folder of this machine that outlives the process, for work that goes on after an interruption."""
        folder = self.root / recipe.step / recipe.key
        make_folder(folder)
        return folder

    def working_objects(self, recipe: Recipe) -> Objects:
        """The same in the store: what must outlive the machine. In a folder's store it is the working folder."""
        return self.objects.below(f"{recipe.step}/{recipe.key}")

    def check_access(self) -> list[str]:
        """Raise UserError or ServiceError now, not in a later step, if the store cannot be used; return warnings."""
        return self.objects.check_access()


def _renamed(folder: Path, home: Path) -> bool:
    """Whether the folder took its final name; False if there is one of this name."""
    try:
        os.rename(folder, home)
    except OSError as error:
        if error.errno not in IS_THERE:
            raise
        return False
    return True


def _replaced(folder: Path, manifest: Manifest) -> bool:
    """Whether the folder took the address of a damaged product; False if the product there is whole."""
    home = manifest.folder
    with one_at_a_time(home.parent):  # or one would take away what another has just put there
        while not _is_whole(manifest):
            aside = home.with_name(f"{PARTIAL}{uuid.uuid4().hex[:8]}")
            with suppress(FileNotFoundError):  # without locks another process can be faster
                os.rename(home, aside)
            took_it = _renamed(folder, home)
            shutil.rmtree(aside, ignore_errors=True)
            if took_it:
                return True
    return False


def _hold(holder: int) -> None:
    """Mark a folder in the making as one that a process works in."""
    try:
        try_lock(holder)
    except OSError as error:
        if not has_no_locks(error):
            raise
        warn_once(
            f"the store's file system has no file locks (flock: {strerror(error)}). A killed run can leave folders"
            f" {PARTIAL}* there: remove them when no run works."
        )


def _remove_abandoned(parent: Path) -> None:
    """Remove half-built folders of killed processes: those that nobody holds the lock of.

    Young ones are left alone: their owner may be between making and locking them.
    """
    for folder in parent.glob(f"{PARTIAL}*"):
        try:
            if time.time() - folder.stat().st_mtime < ABANDONED_AFTER_SECONDS:
                continue
            holder = os.open(folder, os.O_RDONLY)
        except (FileNotFoundError, PermissionError):
            continue  # just committed or removed by its owner, or another user's
        try:
            if try_lock(holder):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            if not has_no_locks(error):
                raise
        finally:
            os.close(holder)


def _is_whole(manifest: Manifest) -> bool:
    """Whether the product at the manifest's address is complete and unchanged."""
    if not (manifest.folder / MANIFEST_NAME).is_file():
        return False
    try:
        manifest.verify()
    except DamagedError:
        return False
    return True
