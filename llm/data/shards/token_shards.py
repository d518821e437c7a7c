"""Token shards: one row of ids for each split, read by memmap, and the boundaries of its documents.

    <split>.bin              ids, little-endian uint16 (uint32 for vocabularies above 65,536)
    <split>.documents.npy    where each document starts, and the end: [documents + 1] int64
    <split>.domains.json     domain of each document, as an index into the names
    meta.json                vocab_size, end_of_text

Every document starts with the end-of-text id.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from llm.storage import Manifest

META = "meta.json"

Tokens = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]


def token_type(vocab_size: int) -> np.dtype[Any]:
    """The smallest type that holds every id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class ShardWriter:
    """Appends documents to a split; the boundaries are written at the end."""

    def __init__(self, folder: Path, split: str, vocab_size: int) -> None:
        self.tokens = 0
        """Ids written so far."""
        self._folder, self._split = folder, split
        self._type = token_type(vocab_size)
        self._starts: list[int] = []
        self._domains: list[str] = []

    def __enter__(self) -> ShardWriter:
        """Open the file of ids."""
        self._file = (self._folder / f"{self._split}.bin").open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it and write the boundaries, unless something went wrong."""
        self._file.close()
        if kind is not None:
            return
        np.save(self._folder / f"{self._split}.documents.npy", np.array([*self._starts, self.tokens], dtype=np.int64))
        names = sorted(set(self._domains))
        document = {"names": names, "documents": [names.index(domain) for domain in self._domains]}
        (self._folder / f"{self._split}.domains.json").write_text(json.dumps(document) + "\n")

    def add(self, ids: npt.NDArray[Any], domain: str) -> None:
        """Append one document."""
        self._starts.append(self.tokens)
        self._domains.append(domain)
        self._file.write(ids.astype(self._type).tobytes())
        self.tokens += len(ids)


def write_meta(folder: Path, vocab_size: int, end_of_text: int) -> None:
    """Write the facts that hold for all splits."""
    (folder / META).write_text(json.dumps({"vocab_size": vocab_size, "end_of_text": end_of_text}) + "\n")


class TokenShards:
    """Shards opened for reading."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        meta = json.loads((folder / META).read_text())
        self.folder = folder
        self.fingerprint = fingerprint
        """Id of the shards: equal if and only if the tokens are."""
        self.vocab_size: int = meta["vocab_size"]
        self.end_of_text: int = meta["end_of_text"]

    @classmethod
    def open(cls, manifest: Manifest) -> TokenShards:
        """Open shards whose files match the manifest; raises DamagedError."""
        return cls(manifest.verify(), manifest.id)

    def tokens(self, split: str) -> Tokens:
        """All ids of a split, not read into memory."""
        path = self.folder / f"{split}.bin"
        if path.stat().st_size == 0:
            return np.empty(0, dtype=token_type(self.vocab_size))
        return np.memmap(path, dtype=token_type(self.vocab_size), mode="r")

    def document_offsets(self, split: str) -> npt.NDArray[np.int64]:
        """The start of each document, and the end of the last, [documents + 1]."""
        offsets: npt.NDArray[np.int64] = np.load(self.folder / f"{split}.documents.npy")
        return offsets

    def domains(self, split: str) -> list[str]:
        """The domain of each document."""
        found = json.loads((self.folder / f"{split}.domains.json").read_text())
        names: list[str] = found["names"]
        return [names[index] for index in found["documents"]]
