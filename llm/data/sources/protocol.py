"""The protocols of a source and of a format.

A *source* says which files `data.path` names: a folder of this machine, or the standard library. A *format* reads the
documents out of a file: JSON Lines, Parquet. A source of files that may have any format leaves `read` to
`format_of(file)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from llm.config import DataConfig
from llm.data.documents import Document


class Reason(StrEnum):
    """Why a document was left out."""

    BINARY = "binary"
    NOT_UTF8 = "not_utf8"
    EMPTY = "empty"


@dataclass(frozen=True)
class Rejection:
    """A document that was left out whole, and why."""

    name: str
    reason: Reason


Found = Document | Rejection
"""The result of a read, one at a time."""


class InputFile(Protocol):
    """Bytes to read: a file of this machine, an object of a service, or a part of either."""

    @property
    def name(self) -> str:
        """Its name in the corpus, in UTF-8: it must not depend on the machine or on the folder above `data.path`."""

    @property
    def format(self) -> str:
        """The name's ending in lower case, without that of a compression: `.jsonl`, `.txt`, or nothing."""

    @property
    def size_bytes(self) -> int:
        """Size as it is stored, for the progress."""

    @property
    def path(self) -> Path | None:
        """Its path on this machine; None: not on this machine."""

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The bytes, decompressed; raises UserError if they cannot be read or are damaged."""

    def fingerprint(self) -> str:
        """A value that changes when the stored bytes do: their sha256, or the hash that a service keeps of them.

        It is part of the recipe. Raises UserError if the bytes cannot be read.
        """

    def check_unchanged(self) -> None:
        """Raise UserError if it is not as it was when it was found: its fingerprint would be wrong."""


class Source(ABC):
    """A place that holds text."""

    form = ""
    """The way to write `data.path` for it, for the message on a path that does not exist."""

    @abstractmethod
    def recognises(self, path: str) -> bool:
        """Whether `data.path` names this source; looks at the text of the path, and reads nothing."""

    @abstractmethod
    def files(self, path: str) -> Sequence[InputFile]:
        """The files that `data.path` names, in an order that is the same on every machine.

        Raises UserError if there are none.
        """

    @abstractmethod
    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """All documents of a file in their order; raises UserError naming the file and the place in it."""

    def host_paths(self, path: str) -> Sequence[Path]:
        """The folders and files of this machine that a step must see to read `data.path`; they need not exist."""
        return ()

    def warning_in_an_image(self, path: str) -> str | None:
        """The difference where the step runs in a container of its image; None: none."""
        return None


class Format(ABC):
    """A way to write documents into a file."""

    @abstractmethod
    def recognises(self, file: InputFile) -> bool:
        """Whether the file has this format; looks at its name, and reads nothing."""

    @abstractmethod
    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """All documents of a file in their order; raises UserError naming the file and the place in it."""
