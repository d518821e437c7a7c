"""Exact duplicates: of documents with equal text, the first stays.

Laws: `unique(unique(d)) == unique(d)`; every text of the input is in the output once; the order is kept. Memory is
one id for each document, not its text. Documents that differ in a single byte are different here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llm.data.documents import Document


@dataclass
class Deduplicator:
    """Says of each document whether its text is new, and counts those that are not."""

    dropped_documents: int = 0
    dropped_bytes: int = 0
    _seen: set[bytes] = field(default_factory=set)

    def is_new(self, document: Document) -> bool:
        """Whether this text was not there before; counts it if it was."""
        key = bytes.fromhex(document.id)
        if key in self._seen:
            self.dropped_documents += 1
            self.dropped_bytes += document.size_bytes
            return False
        self._seen.add(key)
        return True


def unique(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents without exact duplicates, in their order."""
    seen = Deduplicator()
    return (document for document in documents if seen.is_new(document))
