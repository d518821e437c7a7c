"""Addresses: `file://` URIs of this machine and `s3://BUCKET/PREFIX`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llm.errors import UserError

CACHE = "GRISTMILL_CACHE"
"""Environment variable with the folder for what was fetched from S3."""


def is_s3(uri: str) -> bool:
    """Whether a URI names something in S3."""
    return uri.startswith("s3://")


def local_path(uri: str) -> Path:
    """Path that a `file://` URI names; raises UserError for any other scheme."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise UserError(f"{uri} is neither file:// nor s3://", "Stores are folders, or s3://BUCKET/PREFIX.")
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{uri} names the host {parts.netloc}", "A path has three slashes: file:///path/to/store.")
    return Path(unquote(parts.path))


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes around it) of an `s3://` URI; raises UserError if it names no bucket."""
    parts = urlsplit(uri)
    if not parts.netloc or parts.query or parts.fragment:
        raise UserError(f"{uri} is not an S3 address", "Write s3://BUCKET/PREFIX.")
    return parts.netloc, parts.path.strip("/")


def cache_folder() -> Path:
    """Where files from S3 are kept on this machine: GRISTMILL_CACHE, else the user's cache, else a temporary folder.

    A pod's home may not be writable; what is in the cache is checked at every use, so it can go at any time.
    """
    if (named := os.environ.get(CACHE)) is not None:
        return Path(named).absolute()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    nearest = next(path for path in (home, *home.parents) if path.exists())
    return (home if os.access(nearest, os.W_OK) else Path(tempfile.gettempdir())) / "gristmill"
