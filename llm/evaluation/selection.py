"""Which test documents are scored: the same for every model, whatever its tokenizer or context.

A document's id is a hash of its text, so the order of ids is a random one that everybody draws alike. A domain's
documents are taken in that order up to and including the one that reaches the limit.

Certainty comes from the number of documents, not of bytes. Of the standard library's long modules, 400 kB are 21
whole documents that weigh as much as 9 equal ones, or 82 beginnings of 8 kB that weigh as much as 59: so a long
document may be cut, for the model and the compressors alike.

Some documents were made from others (the docstrings of a module) and repeat their text. They share a *cluster*, named
by the document that they come from, and count as one draw where certainty is computed.
"""

from __future__ import annotations

import polars as pl

from llm.errors import UserError

COLUMNS = ("id", "domain", "text", "meta")
"""Columns of a corpus that the selection reads."""


def select_documents(
    documents: pl.DataFrame, max_bytes_per_domain: int, max_bytes_per_document: int | None = None
) -> pl.DataFrame:
    """Rows (id, domain, cluster, text, bytes) to score, ordered by domain and id.

    `bytes` are those of the text that is scored, in UTF-8. Empty documents are left out. Raises UserError if
    nothing is left.
    """
    cluster = pl.coalesce(pl.col("meta").str.json_path_match("$.derived_from"), "id").alias("cluster")
    reached = pl.col("bytes").cum_sum().over("domain") - pl.col("bytes")
    texts = [beginning(text, max_bytes_per_document) for text in documents["text"]]
    chosen = (
        documents.select("id", "domain", cluster, text=pl.Series(texts, dtype=pl.String))
        .with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64))
        .filter(pl.col("bytes") > 0)
        .sort("domain", "id")
        .filter(reached < max_bytes_per_domain)
    )
    if chosen.is_empty():
        raise UserError(
            "the corpus has no test documents to score",
            "Ingest more text, or raise data.test_fraction.",
        )
    return chosen


def beginning(text: str, max_bytes: int | None) -> str:
    """The longest beginning of whole characters that takes at most `max_bytes` in UTF-8; None: all of it."""
    if max_bytes is None or len(text) * 4 <= max_bytes:
        return text
    return text.encode()[:max_bytes].decode(errors="ignore")
