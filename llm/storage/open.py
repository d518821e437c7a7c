"""From an address to the objects there."""

from __future__ import annotations

from llm.storage.local import LocalObjects
from llm.storage.objects import Objects
from llm.storage.s3 import S3Objects
from llm.storage.uri import is_s3, local_path


def open_objects(uri: str) -> Objects:
    """The objects at a `file:` or `s3://` URI; nothing is asked or made before they are used."""
    if is_s3(uri):
        return S3Objects.at(uri)
    return LocalObjects(local_path(uri))
