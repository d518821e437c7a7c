"""Addresses: folders and `file:` URIs of this machine, and `s3://BUCKET/PREFIX`.

`~` means the home folder where a text begins with it, and nowhere else: `./~` is a folder of that name. A `file:` URI
may have one slash or three; its `%XX` are bytes, and `#` and `?` are characters of the path like all others.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from llm.errors import UserError
from llm.process.home import home_folder

CACHE = "GRISTMILL_CACHE"
"""Environment variable with the folder for files from S3."""
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


def is_s3(uri: str) -> bool:
    """Whether a URI names something in S3."""
    return uri.startswith("s3://")


def folder_of(text: str) -> Path:
    """The folder that a path or a `file:` URI names; raises UserError for any other address."""
    return local_path(text) if text[:5].lower() == "file:" or SCHEME.match(text) else user_path(text)


def local_path(uri: str) -> Path:
    """Path that a `file:` URI names; raises UserError for any other scheme."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "file":
        raise UserError(
            f"{uri} is not a folder, a file: URI or s3://BUCKET/PREFIX",
            f"For a folder of this name write ./{uri}." if SCHEME.match(uri) else "Stores are folders, or are in S3.",
        )
    host = ""
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        rest = slash + rest
    if host not in ("", "localhost"):
        raise UserError(f"{uri} names the host {host}", "A path has three slashes: file:///path/to/store.")
    path = os.fsdecode(unquote_to_bytes(os.fsencode(rest)))
    if not path.startswith("/") or "\0" in path:
        raise UserError(f"{uri} names no whole path", "Write file:///path/to/store, or a folder without file:.")
    return Path(path)


def user_path(text: str) -> Path:
    """A path as a user writes it; raises UserError if it begins with `~` and there is no such home folder."""
    if not text.startswith("~"):
        return Path(text)
    name, _, rest = text[1:].partition("/")
    try:
        folder = Path(pwd.getpwnam(name).pw_dir) if name else home_folder()
    except KeyError:
        folder = None
    if folder is None:
        missing = f"there is no user {name} on this machine" if name else NO_HOME
        raise UserError(f"{text}: {missing}", f"Write the whole path; or ./{text} for a folder of this name here.")
    return folder / rest


NO_HOME = "you have no home folder: HOME is not set, and your user id has no entry in the password file"


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes around it) of an `s3://` URI; raises UserError if it names no bucket."""
    parts = urlsplit(uri)
    if not parts.netloc or parts.query or parts.fragment:
        raise UserError(f"{uri} is not an S3 address", "Write s3://BUCKET/PREFIX.")
    return parts.netloc, parts.path.strip("/")


def cache_folder() -> Path:
    """The folder of this machine for files from S3: GRISTMILL_CACHE, else the user's cache, else a temporary folder.

    A pod may have no home, or one that cannot be written. Each file of the cache is checked at every use, so it can be
    removed at any time.
    """
    if named := os.environ.get(CACHE):
        return Path(named).absolute()
    home = home_folder()
    cache = os.environ.get("XDG_CACHE_HOME") or (home / ".cache" if home else None)
    if cache is not None and _can_be_made(Path(cache)):
        return Path(cache) / "gristmill"
    return Path(tempfile.gettempdir()) / f"gristmill-{os.getuid()}"  # another user's folder could not be written


def _can_be_made(folder: Path) -> bool:
    nearest = next((path for path in (folder, *folder.absolute().parents) if os.path.exists(path)), Path("/"))
    return os.access(nearest, os.W_OK | os.X_OK)


def store_hint(store: str, project: Path) -> str:
    """The place of a store, for a document of a project: relative to the project's folder if it is in there."""
    if not is_s3(store):
        folder, home = local_path(store).resolve(), project.resolve()
        if folder.is_relative_to(home):
            return folder.relative_to(home).as_posix()
    return store


def store_at(hint: str, project: Path | None) -> str | None:
    """The store's URI that `store_hint` wrote down; None for a relative one without its project."""
    if SCHEME.match(hint):
        return hint
    return None if project is None else (project.resolve() / hint).as_uri()
