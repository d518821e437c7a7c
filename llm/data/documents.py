"""The one document format, and the three Parquet files of a corpus that hold it.

    id       first 32 hex digits of the sha256 of the text in UTF-8: equal text, equal id
    text     the document, exactly as it was read
    source   where it came from: a path below the input, with `:line` (JSONL), `:row` (Parquet) or `#part` behind it
    domain   what kind of text it is; results are reported by it
    licence  its licence, or null
    meta     all else that is known of it, a JSON object. `derived_from` is the id of the document that this one was
             made from (of the first in a chain), and keeps both in one split

Law: `read_split` returns the documents that a `CorpusWriter` got, split by split and in the order of writing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llm.storage import Manifest

if TYPE_CHECKING:
    import polars as pl

SPLITS = ("train", "validation", "test")
OVERALL = "overall"
"""Name of the totals in every table; no domain may have it."""

ROW_GROUP_BYTES = 16 << 20


@dataclass(frozen=True)
class Document:
    """One text and the facts about it."""

    text: str
    source: str
    domain: str
    licence: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        """Name the document by its content."""
        data = self.text.encode()
        object.__setattr__(self, "id", hashlib.sha256(data).hexdigest()[:32])
        object.__setattr__(self, "size_bytes", len(data))

    def as_row(self) -> dict[str, str | None]:
        """The document in the columns of the schema."""
        return {
            "id": self.id,
            "text": self.text,
            "source": self.source,
            "domain": self.domain,
            "licence": self.licence,
            "meta": json.dumps(dict(self.meta), sort_keys=True, separators=(",", ":")),
        }


@cache
def schema() -> Any:
    """The Arrow schema of a corpus."""
    import pyarrow as pa  # here, not above: `gristmill submit` needs this module, and may have no Arrow

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.large_string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("domain", pa.string(), nullable=False),
            pa.field("licence", pa.string()),
            pa.field("meta", pa.string(), nullable=False),
        ]
    )


class CorpusWriter:
    """Writes `train.parquet`, `validation.parquet` and `test.parquet` into a folder, a row group at a time.

    Equal documents in equal order give equal bytes: the files hold no time and no path.
    """

    def __init__(self, folder: Path) -> None:
        """Open the three files."""
        self._splits = {split: _SplitWriter(folder / f"{split}.parquet") for split in SPLITS}

    def add(self, document: Document, split: str) -> None:
        """Append a document to a split."""
        self._splits[split].add(document)

    def __enter__(self) -> Self:
        """Close all files at the end, whatever happens."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left; after an error only close the files."""
        for split in self._splits.values():
            split.close(complete=kind is None)


class _SplitWriter:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetWriter(path, schema(), compression="zstd", use_dictionary=["domain", "licence"])
        self._rows: list[dict[str, str | None]] = []
        self._bytes = 0

    def add(self, document: Document) -> None:
        self._rows.append(document.as_row())
        self._bytes += document.size_bytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self, *, complete: bool) -> None:
        try:
            if complete and self._rows:
                self._flush()
        finally:
            self._file.close()

    def _flush(self) -> None:
        import pyarrow as pa

        self._file.write_table(pa.Table.from_pylist(self._rows, schema=schema()))
        self._rows, self._bytes = [], 0


def read_split(corpus: Manifest, split: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """One split of a corpus, checked against its manifest first: all columns of the schema, or those named.

    Raises DamagedError for a changed file, UserError for a split that the corpus does not have.
    """
    import polars as pl

    path = corpus.file(f"{split}.parquet")
    # polars takes a path for a pattern: of a store below `p[1]` it would read what lies below `p1`.
    return pl.read_parquet(path, columns=None if columns is None else list(columns), glob=False)
