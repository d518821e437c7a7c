"""The folders of this machine that a step in a container sees: those that the configuration names, at their own paths.

Paths stay the same inside, so that a manifest written there is read here and the other way round. The user's texts
are read only. A path through a symbolic link is mounted under both its names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from llm.config import RunConfig
from llm.data.sources import Source, source_of
from llm.data.validation import suite_path
from llm.data.validation.suite import is_path
from llm.errors import UserError
from llm.process.home import home_folder
from llm.storage import cache_folder, folder_of, is_s3
from llm.storage.lock import LOCKS, locks_folder

THE_IMAGES_OWN = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/opt/gristmill", "/proc", "/sbin", "/sys", "/usr")
"""Folders of an image that may not be hidden by one of this machine."""
SCRATCH = "/tmp"  # noqa: S108 - the container's own, in memory
FILES_IN_ENVIRONMENT = (
    "AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "KUBECONFIG", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
)  # fmt: skip
"""Variables that name files which libraries of ours read."""
FOLDERS_AT_HOME = (".aws", ".kube")


@dataclass(frozen=True)
class Place:
    """A file or folder of this machine that steps see, the setting that names it, and whether they may write."""

    path: Path
    setting: str
    is_writable: bool = False


def places(config: RunConfig) -> list[Place]:
    """Paths to mount, each once, absolute and there; folders to write into are made.

    Raises UserError for one that would hide the image's own files, and for texts that cannot be seen in a container.
    """
    found: dict[Path, Place] = {}
    for place in (*_configured(config), *_named_in_environment()):
        for path in dict.fromkeys((Path(os.path.abspath(place.path)), place.path.resolve())):
            if path not in found or place.is_writable:
                found[path] = Place(path, place.setting, place.is_writable)
    return [found[path] for path in sorted(found)]


def _configured(config: RunConfig) -> Iterator[Place]:
    yield _writable(folder_of(config.run.folder), "run.folder")
    if is_s3(config.storage.uri):
        yield _writable(cache_folder(), "GRISTMILL_CACHE")
    else:
        yield _writable(folder_of(config.storage.uri), "storage.uri")
    if (locks := locks_folder()) is not None:
        yield _writable(locks, LOCKS)
    if (database := _database(config.tracking.uri)) is not None:
        yield _writable(database.parent, "tracking.uri")
    source = source_of(config.data.path)
    for root in source.host_paths(config.data.path):
        yield _texts(source, root, config.data.path)
    if is_path(config.validation.suite):
        yield _checked(Place(suite_path(config.validation.suite), "validation.suite"))


def _texts(source: Source, root: Path, path: str) -> Place:
    """A file or folder that the texts lie in; raises UserError for a text that is a link to another place."""
    place = _checked(Place(root, "data.path"))
    real = root.resolve()
    for file in source.files(path):
        if file.path is not None and not (target := file.path.resolve()).is_relative_to(real):
            raise UserError(
                f"data.path={path}: {file.path} is a link to {target}, which a container does not see",
                f"It sees only files below {root}. Copy the text there, or use the subprocess runner.",
            )
    return place


def _named_in_environment() -> Iterator[Place]:
    for variable in FILES_IN_ENVIRONMENT:
        for name in os.environ.get(variable, "").split(os.pathsep):
            if name and Path(name).exists():
                yield Place(Path(name), variable)
    for name in FOLDERS_AT_HOME:
        if (home := home_folder()) is not None and (home / name).is_dir():
            yield Place(home / name, "HOME")


def _database(uri: str | None) -> Path | None:
    """The file of a SQLite database; None for a server or for nothing."""
    if uri is None or (parts := urlsplit(uri)).scheme != "sqlite":
        return None
    return Path(parts.path[1:])  # sqlite:///here, sqlite:////from/the/root


def _writable(path: Path, setting: str) -> Place:
    place = _checked(Place(path, setting, is_writable=True))
    try:
        path.mkdir(parents=True, exist_ok=True)  # else docker makes it, and root owns it
    except OSError as error:
        raise UserError(f"{setting}={path} cannot be made: {error.strerror}") from error
    return place


def _checked(place: Place) -> Place:
    for path in (Path(os.path.abspath(place.path)), place.path.resolve()):
        hidden = [own for own in THE_IMAGES_OWN if path.is_relative_to(own) or Path(own).is_relative_to(path)]
        if hidden or path == Path(SCRATCH):
            raise UserError(
                f"{place.setting}={place.path} would hide the image's own {[*hidden, SCRATCH][0]} in a container",
                "Use another folder, or the subprocess runner.",
            )
    return place
