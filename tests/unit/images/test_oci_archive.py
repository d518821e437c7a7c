"""What `docker save` writes becomes an OCI archive, and the same image always the same digest."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from scripts.oci_archive import ArchiveError, convert, digest_of, full_name

REFERENCE = "gristmill/train:0.1.0"


def layer(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        add(archive, name, content)
    return file.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes, mtime: int = 0) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(content), mtime
    archive.addfile(entry, io.BytesIO(content))


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


LAYERS = (layer("base", b"base" * 3000), layer("sources", b"sources"))


def saved(
    path: Path, layers=LAYERS, *, stored=None, diff_ids: list[str] | None = None, images: int = 1, mtime: int = 0
) -> Path:
    """An archive as docker 20.10 writes it: a folder for each layer, the configuration, the manifest last.

    `stored` is what lies there in place of the layers.
    """
    config = json.dumps({"config": {"User": "1000:1000"}, "rootfs": {"diff_ids": diff_ids or [*map(sha256, layers)]}})
    layers = layers if stored is None else stored
    name = f"{sha256(config.encode())[7:]}.json"
    names = [f"{index:064x}/layer.tar" for index, _ in enumerate(layers)]
    with tarfile.open(path, "w") as archive:
        for where, content in zip(names, layers, strict=True):
            add(archive, where.replace("layer.tar", "VERSION"), b"1.0", mtime)
            add(archive, where, content, mtime)
        add(archive, name, config.encode(), mtime)
        entry = {"Config": name, "RepoTags": [REFERENCE], "Layers": names}
        add(archive, "manifest.json", json.dumps([entry] * images).encode(), mtime)
    return path


def read(path: Path, name: str) -> bytes:
    with tarfile.open(path) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def blob(path: Path, digest: str) -> bytes:
    content = read(path, f"blobs/sha256/{digest.removeprefix('sha256:')}")
    assert sha256(content) == digest
    return content


def test_index_manifest_configuration_and_layers_lead_to_one_another(tmp_path: Path):
    image = convert(saved(tmp_path / "saved.tar"), tmp_path / "oci.tar", REFERENCE)
    assert json.loads(read(tmp_path / "oci.tar", "oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(read(tmp_path / "oci.tar", "index.json"))["manifests"]
    assert entry["digest"] == image.digest
    manifest = json.loads(blob(tmp_path / "oci.tar", image.digest))
    assert entry["size"] == len(blob(tmp_path / "oci.tar", image.digest))
    config = blob(tmp_path / "oci.tar", manifest["config"]["digest"])
    assert json.loads(config)["config"] == {"User": "1000:1000"}
    assert [blob(tmp_path / "oci.tar", one["digest"]) for one in manifest["layers"]] == list(LAYERS)
    assert [one["size"] for one in manifest["layers"]] == [len(content) for content in LAYERS]
    assert image.size_bytes == sum(map(len, LAYERS)) + len(config) + entry["size"]


def test_layers_that_docker_compressed_make_the_same_image(tmp_path: Path):
    plain = convert(saved(tmp_path / "plain.tar"), tmp_path / "oci.tar", REFERENCE)
    compressed = saved(tmp_path / "compressed.tar", stored=[*map(gzip.compress, LAYERS)])
    assert convert(compressed, tmp_path / "other.tar", REFERENCE) == plain
    assert (tmp_path / "other.tar").read_bytes() == (tmp_path / "oci.tar").read_bytes()


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (gzip.compress(b"other"), f"is damaged: it should be {sha256(LAYERS[0])} and is {sha256(b'other')}"),
        (gzip.compress(LAYERS[0])[:-9], "is damaged: Compressed file ended"),
        (b"\x1f\x8bnothing of the kind", "is damaged: Unknown compression method"),
    ],
    ids=["another", "cut", "no gzip"],  # gzip writes the time: pytest's own names would differ from process to process
)
def test_a_damaged_compressed_layer_is_refused(tmp_path: Path, stored: bytes, reason: str):
    source = saved(tmp_path / "saved.tar", stored=(stored, LAYERS[1]))
    with pytest.raises(ArchiveError, match=reason):
        convert(source, tmp_path / "oci.tar", REFERENCE)


def test_the_id_is_the_configurations(tmp_path: Path):
    source = saved(tmp_path / "saved.tar")
    config = json.loads(read(source, "manifest.json"))[0]["Config"]
    assert convert(source, tmp_path / "oci.tar", REFERENCE).id == f"sha256:{config.removesuffix('.json')}"


def test_the_digest_depends_on_the_image_alone(tmp_path: Path):
    first = convert(saved(tmp_path / "one.tar", mtime=1), tmp_path / "one-oci.tar", REFERENCE)
    second = convert(saved(tmp_path / "two.tar", mtime=2), tmp_path / "two-oci.tar", "other/name:2")
    assert first == second
    changed = (LAYERS[0], layer("sources", b"changed"))
    assert convert(saved(tmp_path / "3.tar", changed), tmp_path / "3-oci.tar", REFERENCE).digest != first.digest


def test_an_archive_says_how_containerd_and_others_shall_name_it(tmp_path: Path):
    convert(saved(tmp_path / "saved.tar"), tmp_path / "oci.tar", REFERENCE)
    (entry,) = json.loads(read(tmp_path / "oci.tar", "index.json"))["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": "docker.io/gristmill/train:0.1.0",
        "org.opencontainers.image.ref.name": "0.1.0",
    }


def test_a_layer_that_an_image_has_twice_is_kept_once(tmp_path: Path):
    image = convert(saved(tmp_path / "saved.tar", (LAYERS[0], LAYERS[1], LAYERS[1])), tmp_path / "oci.tar", REFERENCE)
    manifest = json.loads(blob(tmp_path / "oci.tar", image.digest))
    assert manifest["layers"][1] == manifest["layers"][2]
    with tarfile.open(tmp_path / "oci.tar") as archive:
        assert len(archive.getnames()) == len(set(archive.getnames()))


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        ({"diff_ids": [sha256(b"other"), sha256(LAYERS[1])]}, "is damaged: it should be sha256:"),
        ({"diff_ids": [sha256(LAYERS[0])]}, "2 layers, and a configuration of 1"),
        ({"images": 2}, "2 images in the archive"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(tmp_path: Path, archive: dict, reason: str):
    with pytest.raises(ArchiveError, match=reason):
        convert(saved(tmp_path / "saved.tar", **archive), tmp_path / "oci.tar", REFERENCE)


def test_what_docker_did_not_save_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "saved.tar", "w") as archive:
        add(archive, "anything", b"")
    with pytest.raises(ArchiveError, match=r"there is no manifest\.json in the archive"):
        convert(tmp_path / "saved.tar", tmp_path / "oci.tar", REFERENCE)


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("app:1", "docker.io/library/app:1"),
        ("gristmill/train:1", "docker.io/gristmill/train:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("registry.example/team/app:1", "registry.example/team/app:1"),
        ("host:5000/app@sha256:00", "host:5000/app@sha256:00"),
    ],
)
def test_a_name_without_a_registry_is_one_of_docker_hub(reference: str, full: str):
    assert full_name(reference) == full


def test_the_files_of_an_archive_are_known_by_their_digests(tmp_path: Path):
    image = convert(saved(tmp_path / "saved.tar"), tmp_path / "oci.tar", REFERENCE)
    with tarfile.open(tmp_path / "oci.tar") as archive:
        found = {digest_of(name) for name in archive.getnames()}
    assert found == {None, image.digest, image.id, *map(sha256, LAYERS)}
