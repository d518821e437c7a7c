"""Named contents below one address: a folder of this machine, or a prefix of an S3 bucket, behind the same few verbs.

Everything in a store goes through here: products, recipes, the checkpoints of a training in progress. Names are
relative, with `/`. Laws: `read(n) == c` after `write(n, c)`; a reader sees a whole content or none; `fetch(put(p, n))`
has the content that `p` had.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from llm.storage.hashes import sha256_of_file


class FileEntry(BaseModel):
    """One file of a product: its path below the product's address, its size and its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size_bytes: int
    sha256: str


class Objects(Protocol):
    """Contents by name below `uri`."""

    uri: str

    def below(self, name: str) -> Objects:
        """The same, one level further down."""

    def read(self, name: str) -> bytes | None:
        """A small content; None if there is none of that name."""

    def write(self, name: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Put a small content in one step; with `if_absent`, False and no change if there is one already."""

    def put(self, path: Path, name: str) -> FileEntry:
        """Take a file of this machine over, and describe it; afterwards it may be gone from where it was."""

    def fetch(self, entry: FileEntry, into: Path, *, checked: bool = False) -> Path:
        """A file of this machine with exactly that content, in place or below `into`; raises DamagedError.

        With `checked` the caller knows the content of what is in place already, and it is not read for its hash again.
        """

    def problem(self, entry: FileEntry) -> str | None:
        """The fault of a content, in a few words; None if it is as described."""

    def names(self, prefix: str = "") -> list[str]:
        """Names that begin with `prefix`, sorted."""

    def remove(self, prefix: str) -> None:
        """Remove all that begins with `prefix`; nothing is wrong if there is nothing."""

    def check_access(self) -> list[str]:
        """Raise UserError or ServiceError, naming the fault, unless our writes here stay; return warnings."""


def describe(path: Path, name: str) -> FileEntry:
    """The entry of a file under a name."""
    return FileEntry(path=name, size_bytes=path.stat().st_size, sha256=sha256_of_file(path))
