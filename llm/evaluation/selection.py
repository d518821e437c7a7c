"""Which test documents are scored: the same for every model, whatever its tokenizer or context.

A document's id is a hash of its text, so the order of ids is a random one that everybody draws alike. A domain's
documents are taken in that order up to and including the one that reaches the limit.
"""

from __future__ import annotations

import polars as pl

from llm.errors import UserError


def select_documents(documents: pl.DataFrame, max_bytes_per_domain: int) -> pl.DataFrame:
    """Rows (id, domain, text, bytes) to score, ordered by domain and id.

    Empty documents are left out. Raises UserError if nothing is left.
    """
    reached = pl.col("bytes").cum_sum().over("domain") - pl.col("bytes")
    chosen = (
        documents.select("id", "domain", "text", bytes=pl.col("text").str.len_bytes().cast(pl.Int64))
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
