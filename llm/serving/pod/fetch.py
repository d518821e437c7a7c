"""A model repository out of the store into a folder that Triton serves, every file checked on its way.

A right file that is in the folder already stays, so an attempt that was cut short goes on where it stopped. The
manifest is written last: a folder without one was not fetched to its end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llm.config.quantity import amount
from llm.errors import DamagedError, UserError
from llm.storage import Manifest, identity
from llm.storage.manifest import MANIFEST_NAME
from llm.storage.names import resolved
from llm.storage.objects import FileEntry, Objects
from llm.storage.open import open_objects
from llm.words import size

KIND = "repository"
FETCHES = 4
"""Files that travel at the same time; each large one in several parts."""


def fetch_repository(
    uri: str, folder: Path, *, limit: str | None = None, progress: Callable[[str], None] = lambda message: None
) -> Manifest:
    """Fetch the repository at a `file://` or `s3://` URI, or under its name, into `folder`; returns its manifest.

    `limit` is the folder's room, as Kubernetes writes it (`2Gi`). Raises UserError if there is no repository, no room
    for it or something else in the folder, DamagedError naming the file that does not match the manifest,
    ServiceError if S3 refuses or does not answer.
    """
    uri = resolved(uri.rstrip("/"))
    manifest = Manifest.read_uri(uri)
    _refuse_unfit(manifest, uri, folder, limit)
    total_bytes = sum(entry.size_bytes for entry in manifest.files)
    progress(f"fetching {len(manifest.files)} files, {size(total_bytes)}, of {uri}")
    source = open_objects(uri)
    with ThreadPoolExecutor(FETCHES) as pool:
        for entry, _ in zip(
            manifest.files, pool.map(lambda entry: _fetch(source, entry, folder, manifest), manifest.files), strict=True
        ):
            progress(f"{entry.path} is what its manifest says")
    manifest.write(folder / MANIFEST_NAME)
    return manifest


def bytes_of(quantity: str) -> float:
    """Bytes of a quantity as Kubernetes writes it (`512Mi`); raises UserError for anything else."""
    parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(k|[KMGT]i?)?", quantity)
    if parts is None:
        raise UserError(f"{quantity} is not an amount of storage", "Write it as Kubernetes does, like 2Gi.")
    suffix = "k" if parts[2] == "K" else parts[2] or ""  # Kubernetes knows the small one only
    return amount(parts[1] + suffix) or 0.0


def _refuse_unfit(manifest: Manifest, uri: str, folder: Path, limit: str | None) -> None:
    if manifest.kind != KIND:
        raise UserError(
            f"{uri} is a {manifest.kind}, and Triton serves a {KIND}",
            "The step `deploy` makes one; its manifest says where: runs/<run>/manifests/deploy.json.",
        )
    if manifest.id != identity(manifest.kind, manifest.files, manifest.counts, manifest.config, manifest.parents):
        raise DamagedError(
            f"{uri}/{MANIFEST_NAME} is damaged: its content does not give the id {manifest.id}",
            f"Remove {uri} and run `deploy` again, which makes it again.",
        )
    total_bytes = sum(entry.size_bytes for entry in manifest.files)
    if limit is not None and total_bytes > bytes_of(limit):
        raise UserError(
            f"{KIND} {manifest.id} has {size(total_bytes)}, and its volume {limit}",
            "Give the volume more room: --limit, which the chart gristmill-serving sets from model.volumeSize.",
        )
    others = _names(folder) - {entry.path for entry in manifest.files} - {MANIFEST_NAME}
    if others:
        raise UserError(
            f"{folder} holds other things already: {', '.join(sorted(others)[:3])}", "Give it an empty folder."
        )


def _fetch(source: Objects, entry: FileEntry, folder: Path, manifest: Manifest) -> None:
    target = folder / entry.path
    try:
        found = source.fetch(entry, folder)
    except DamagedError as error:
        raise DamagedError(
            f"{entry.path} of {manifest.kind} {manifest.id}: {error}",
            f"Remove {manifest.uri} and run `deploy` again, which makes it again.",
        ) from error
    if found != target:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, target)


def _names(folder: Path) -> set[str]:
    """Files below a folder; what an interrupted fetch left under a temporary name is not counted."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
