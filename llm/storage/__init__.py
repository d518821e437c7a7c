"""Content-addressed products on a filesystem, and the manifests that describe them."""

from llm.storage.atomic_write import sync, write_atomically
from llm.storage.lock import only_process_in
from llm.storage.manifest import FileEntry, Manifest, Parent, identity, local_path, sha256_of_file, sha256_of_json
from llm.storage.store import Recipe, Stage, Store, disk_full, is_disk_full

__all__ = [
    "FileEntry",
    "Manifest",
    "Parent",
    "Recipe",
    "Stage",
    "Store",
    "disk_full",
    "identity",
    "is_disk_full",
    "local_path",
    "only_process_in",
    "sha256_of_file",
    "sha256_of_json",
    "sync",
    "write_atomically",
]
