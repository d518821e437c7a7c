"""From `docker save`'s archive to an OCI image archive, whose manifest digest depends on the image alone.

A digest is what Kubernetes and a registry know an image by, and docker gives an image one only when it is pushed.
Here the manifest is written by us: the configuration as docker has it and the layers uncompressed, so that the same
image always has the same digest. Docker saves them so, or with gzip where containerd keeps its images (as a new Docker
29 does). The tag of an archive stands in its index, not in the manifest.

Law: the digest of `convert(save(image))` is a function of the image's configuration.
Layers are streamed, never held in memory.
Format: github.com/opencontainers/image-spec, image layout, manifest and index.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
GZIP = b"\x1f\x8b"
"""First bytes of a layer that is compressed."""
DEFAULT_REGISTRY = "docker.io"


class ArchiveError(Exception):
    """The archive is not what `docker save` writes, or is damaged."""


@dataclass(frozen=True)
class OciImage:
    """What was written: the manifest's digest, the configuration's, the bytes of all blobs."""

    digest: str
    id: str
    size_bytes: int


def convert(saved: Path, target: Path, reference: str) -> OciImage:
    """Write the one image of a `docker save` archive as an OCI archive, named `reference` (`name:tag`).

    Raises ArchiveError if the archive holds not one image, or a layer differs from the configuration's digest of it.
    """
    with tarfile.open(saved) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = _only_image(source)
        config = _read(source, entry["Config"])
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        if len(diff_ids) != len(entry["Layers"]):
            raise ArchiveError(f"{saved}: {len(entry['Layers'])} layers, and a configuration of {len(diff_ids)}")
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        layers = [
            _copy_layer(source, name, archive, diff_id) for name, diff_id in zip(entry["Layers"], diff_ids, strict=True)
        ]
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": _add_blob(archive, CONFIG, config),
                "layers": layers,
            }
        )
        descriptor = _add_blob(archive, MANIFEST, manifest)
        named = {**descriptor, "annotations": _names(reference)}
        _add(archive, "index.json", _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    return OciImage(
        digest=descriptor["digest"],
        id=_digest(config),
        size_bytes=len(manifest) + len(config) + sum(layer["size"] for layer in layers),
    )


def full_name(reference: str) -> str:
    """The name as containerd keeps it: `docker.io/` before what names no registry."""
    registry, slash, _ = reference.partition("/")
    named = slash and ("." in registry or ":" in registry or registry == "localhost")
    if named:
        return reference
    return f"{DEFAULT_REGISTRY}/{reference if slash else f'library/{reference}'}"


def digest_of(name: str) -> str | None:
    """The digest of the blob that a file of an OCI archive is; None if it is none."""
    folder, _, value = name.rpartition("/")
    return f"{folder.removeprefix('blobs/')}:{value}" if folder.startswith("blobs/") else None


def _names(reference: str) -> dict[str, str]:
    return {
        "io.containerd.image.name": full_name(reference),
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }


def _only_image(source: tarfile.TarFile) -> dict[str, Any]:
    entries = json.loads(_read(source, "manifest.json"))
    if len(entries) != 1:
        raise ArchiveError(f"{len(entries)} images in the archive, and one was wanted")
    entry: dict[str, Any] = entries[0]
    return entry


def _read(source: tarfile.TarFile, name: str) -> bytes:
    return _open(source, name).read()


def _open(source: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        file = source.extractfile(name)  # follows the link that docker makes for a layer that an image has twice
    except KeyError:
        file = None
    if file is None:
        raise ArchiveError(f"there is no {name} in the archive: is it of `docker save`?")
    return file


def _copy_layer(source: tarfile.TarFile, name: str, archive: tarfile.TarFile, diff_id: str) -> dict[str, Any]:
    """Stream a layer to its blob; its name is the digest that it must have, which is checked on the way."""
    with _open(source, name) as file, _uncompressed(file) as layer:
        try:
            size = layer.seek(0, io.SEEK_END)
            layer.seek(0)
            hashed = _Hashing(layer)
            if _blob_path(diff_id) not in archive.getnames():
                archive.addfile(_entry(_blob_path(diff_id), size), hashed)
                if hashed.digest != diff_id:
                    raise ArchiveError(f"layer {name} is damaged: it should be {diff_id} and is {hashed.digest}")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ArchiveError(f"layer {name} is damaged: {error}") from error
    return {"mediaType": LAYER, "digest": diff_id, "size": size}


def _uncompressed(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    is_compressed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if is_compressed else file


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file, self._sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"


def _add_blob(archive: tarfile.TarFile, media_type: str, data: bytes) -> dict[str, Any]:
    _add(archive, _blob_path(_digest(data)), data)
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_entry(name, len(data)), io.BytesIO(data))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
