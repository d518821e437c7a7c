"""Content-addressed products in a folder or in S3, and the manifests that describe them."""

from llm.storage.atomic_write import sync, write_atomically
from llm.storage.disk import disk_full, is_disk_full
from llm.storage.hashes import sha256_of_file, sha256_of_json
from llm.storage.local import LocalObjects
from llm.storage.lock import only_process_in
from llm.storage.manifest import Manifest, Parent, identity
from llm.storage.objects import FileEntry, Objects
from llm.storage.open import open_objects
from llm.storage.recipe import Recipe
from llm.storage.store import Stage, Store
from llm.storage.uri import cache_folder, is_s3, local_path

__all__ = [
    "FileEntry",
    "LocalObjects",
    "Manifest",
    "Objects",
    "Parent",
    "Recipe",
    "Stage",
    "Store",
    "cache_folder",
    "disk_full",
    "identity",
    "is_disk_full",
    "is_s3",
    "local_path",
    "only_process_in",
    "open_objects",
    "sha256_of_file",
    "sha256_of_json",
    "sync",
    "write_atomically",
]
