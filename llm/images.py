"""The images of this tree: what `make images` built, and whether it was built from the sources that are here now.

`make images` leaves `build/images.json` next to the sources. While the sources are the ones that an image was built
from, its digest names it. After a change its tag names it, and the command that compiles a package says so. Without a
build folder (an installed wheel, inside an image) there are tags only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from llm import __version__
from llm.errors import DamagedError

NAMES = ("data", "train", "export", "registry", "triton")
"""The images, one per group of dependencies."""
OF_STEPS = NAMES[:-1]
"""Those that a pipeline's steps run in."""
CUDA_IMAGE = "train-cuda"
"""The image of a training's pods on GPUs."""
VARIANTS = {CUDA_IMAGE: "train"}
"""Images that are made only when they are named: the same as another, with the CUDA build of torch."""
PREFIX = "GRISTMILL_IMAGE_PREFIX"
"""Environment variable with the repository of a registry, which replaces `gristmill` before an image's name."""
TRAIN_IMAGE = "GRISTMILL_TRAIN_IMAGE"
"""Environment variable with the image of a training's pods, in place of the launcher's own."""
DEFAULT_PREFIX = "gristmill"
PROJECT = Path(__file__).resolve().parents[1]
SOURCES = ("llm", "components", "pipelines", "images")
"""Folders that an image is made of."""
BUILT = Path("build") / "images.json"


@dataclass(frozen=True)
class Image:
    """One image as it was built."""

    reference: str
    """Its name and tag."""
    id: str
    """Docker's id: the digest of its configuration, or of its manifest where containerd keeps docker's images."""
    digest: str
    """Digest of its manifest: in the archive, or in the registry that it was pushed to."""
    size_bytes: int
    archive: str | None
    """Its OCI archive, relative to the project; None if it was pushed to a registry instead."""
    sources: str
    """Fingerprint of the sources that it was built from."""

    @property
    def pinned(self) -> str:
        """Its name with the digest."""
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


def fingerprint(project: Path = PROJECT) -> str:
    """16 hex digits that change when any file does that goes into an image."""
    digest = hashlib.sha256()
    for path in sorted(path for name in SOURCES for path in _files(project / name)):
        digest.update(f"{path.relative_to(project).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def built(project: Path = PROJECT) -> dict[str, Image]:
    """The images by name as `make images` left them, of this tree or another; raises DamagedError."""
    path = project / BUILT
    if not path.is_file():
        return {}
    try:
        return {name: Image(**image) for name, image in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} is not a list of images: {error}", "Remove it and run `make images`.") from error


def record(images: Mapping[str, Image], project: Path = PROJECT) -> None:
    """Record the images that were built."""
    document = {name: asdict(image) for name, image in sorted(images.items())}
    path = project / BUILT
    whole = path.with_suffix(".new")  # others may read it meanwhile
    whole.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    whole.replace(path)


def references(*names: str, project: Path = PROJECT) -> list[str]:
    """The images for pods to run: each by its digest if it was built from these sources, else by its tag."""
    images = built(project)
    here = fingerprint(project) if images else None
    prefix = (os.environ.get(PREFIX) or DEFAULT_PREFIX).rstrip("/")
    return [
        pinned(name, image)
        if (image := images.get(name)) is not None and image.sources == here
        else f"{prefix}/{name}:{__version__}"
        for name in names
    ]


def are_pinned(images: Iterable[str]) -> bool:
    """Whether every one of these images is named by its digest."""
    return all("@sha256:" in image for image in images)


def libraries(name: str, project: Path = PROJECT) -> dict[str, str]:
    """Version of every distribution that `make images` installs in an image, from the image's list of pins."""
    lines = (project / "images" / name / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {distribution.strip(): version.strip() for distribution, version in pairs}


def pinned(name: str, image: Image) -> str:
    """An image by its digest, below the registry that the environment names if it names one."""
    prefix = os.environ.get(PREFIX)
    return f"{prefix.rstrip('/')}/{name}@{image.digest}" if prefix else image.pinned


def cuda_image(project: Path = PROJECT) -> str | None:
    """The image of a training's pods on GPUs, for pods to run; None if it was never built here."""
    return references(CUDA_IMAGE, project=project)[0] if CUDA_IMAGE in built(project) else None


def unbuilt_warnings(device: str, project: Path = PROJECT) -> list[str]:
    """The warnings for a package whose images are not built from this tree; `device`: `training.compute.device`."""
    found = []
    if (why := unbuilt(OF_STEPS, project)) is not None:
        found.append(f"{why}: the pods run what has this version's tag; `make images` builds this tree")
    if device == "cuda" and TRAIN_IMAGE not in os.environ and (why := unbuilt((CUDA_IMAGE,), project)) is not None:
        instead = "its tag" if CUDA_IMAGE in built(project) else "the image train, whose torch has no CUDA"
        found.append(f"{why}: the pods of the training run {instead}; `make images IMAGES={CUDA_IMAGE}` builds it")
    return found


def unbuilt(names: tuple[str, ...], project: Path = PROJECT) -> str | None:
    """Why these images are not (all) the ones of this tree, in a line, or None if they are."""
    images = built(project)
    if missing := [name for name in names if name not in images]:
        return f"the {_list(missing)} not built"
    here = fingerprint(project)
    if stale := [name for name in names if images[name].sources != here]:
        return f"the {_list(stale)} not built from the sources that are here now"
    return None


def _list(names: list[str]) -> str:
    return f"image {names[0]} was" if len(names) == 1 else f"images {', '.join(names)} were"


def _files(folder: Path) -> list[Path]:
    """Every file below a folder but what Python and editors leave there."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]
