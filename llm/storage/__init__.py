"""Content-addressed products on a filesystem, and the manifests that describe them."""

from llm.storage.atomic_write import sync_folder, write_atomically
from llm.storage.lock import only_process_in
from llm.storage.manifest import FileEntry, Manifest, Parent, identity, local_path, sha256_of_file, sha256_of_json
from llm.storage.store import Recipe, Stage, Store, disk_full

__all__ = [
    "FileEntry",
    "Manifest",
    "Parent",
    "Recipe",
    "Stage",
    "Store",
    "disk_full",
    "identity",
    "local_path",
    "only_process_in",
    "sha256_of_file",
    "sha256_of_json",
    "sync_folder",
    "write_atomically",
]
