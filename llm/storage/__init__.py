"""Content-addressed products in a folder or in S3, and the manifests that describe them."""

from llm.storage.atomic_write import sync, write_atomically
from llm.storage.disk import NOT_ALLOWED, disk_full, is_disk_full, is_no_path, no_path, not_allowed
from llm.storage.hashes import sha256_of_file, sha256_of_json
from llm.storage.local import LocalObjects
from llm.storage.lock import is_held, only_process_in
from llm.storage.manifest import Manifest, Parent, identity
from llm.storage.objects import FileEntry, Objects
from llm.storage.open import open_objects
from llm.storage.recipe import Recipe
from llm.storage.store import Stage, Store
from llm.storage.uri import cache_folder, folder_of, is_s3, local_path, store_at, store_hint, user_path

__all__ = [
    "NOT_ALLOWED",
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
    "folder_of",
    "identity",
    "is_disk_full",
    "is_held",
    "is_no_path",
    "is_s3",
    "local_path",
    "no_path",
    "not_allowed",
    "only_process_in",
    "open_objects",
    "sha256_of_file",
    "sha256_of_json",
    "store_at",
    "store_hint",
    "sync",
    "user_path",
    "write_atomically",
]
