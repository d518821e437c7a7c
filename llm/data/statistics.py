"""A corpus in one small table: a row for every split and domain, for their totals, and one overall.

polars reads the documents as a stream and keeps a few numbers of each; a judge then needs only the table. Columns:

    split, domain                  `overall` is all of them
    documents, documents_fraction  how many, and their share of the whole corpus
    bytes                          UTF-8 bytes of text
    bytes_p05, _median, _p95, bytes_max   quantiles of a document's length (nearest rank: a length that occurs)
    longest_line_bytes             longest line of any document: minified code, tables, base64
    non_ascii_fraction             share of characters that are not ASCII
    empty_documents                documents of nothing but white space
    replacement_documents          documents with U+FFFD, the mark of text that was mangled before it came here
    duplicate_documents            documents whose text is also in another row of the corpus
    leaked_documents               documents whose text or source document is also in another split
    dropped_duplicate_fraction     share of what was read that ingest dropped as a duplicate (overall only, else null)
    rejected_fraction              share of what was read that is binary or not UTF-8 (overall only, else null)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.data.documents import OVERALL, SPLITS
from llm.storage import Manifest
from llm.storage.products import CorpusCounts

if TYPE_CHECKING:
    import polars as pl

ROWS: tuple[list[str], ...] = (["split", "domain"], ["split"], ["domain"], [])
"""Columns that the rows are grouped by; a key that is not in the group is `overall`."""


def statistics(corpus: Manifest) -> pl.DataFrame:
    """The table of a corpus, ordered by split (train, validation, test, overall) and domain.

    Raises DamagedError if a file of the corpus was changed.
    """
    import polars as pl

    documents = _measure(corpus)
    table = pl.concat([_summarise(documents, keys) for keys in ROWS])
    order = pl.col("split").replace_strict({split: place for place, split in enumerate((*SPLITS, OVERALL))})
    table = table.sort(order, pl.col("domain") == OVERALL, "domain")
    is_overall = (pl.col("split") == OVERALL) & (pl.col("domain") == OVERALL)
    return table.with_columns(
        pl.when(is_overall).then(pl.lit(value, pl.Float64)).alias(name)
        for name, value in _ingest_shares(CorpusCounts.of(corpus)).items()
    )


def _measure(corpus: Manifest) -> pl.DataFrame:
    """A few numbers of every document; its text is not kept."""
    import polars as pl

    text = pl.col("text")
    frames = [
        pl.scan_parquet(corpus.file(f"{split}.parquet"), glob=False).select(
            "id",
            "domain",
            pl.lit(split).alias("split"),
            pl.coalesce(pl.col("meta").str.json_path_match("$.derived_from"), "id").alias("origin"),
            text.str.len_bytes().alias("bytes"),
            text.str.len_chars().alias("characters"),
            text.str.count_matches(r"[^\x00-\x7F]").alias("non_ascii"),
            text.str.split("\n").list.eval(pl.element().str.len_bytes()).list.max().alias("longest_line"),
            (text.str.strip_chars().str.len_bytes() == 0).alias("is_empty"),
            text.str.contains("\ufffd", literal=True).alias("is_mangled"),
        )
        for split in SPLITS
    ]
    return (
        pl.concat(frames)
        .collect(engine="streaming")
        .with_columns(
            (pl.len().over("id") > 1).alias("is_duplicate"),
            (pl.max_horizontal(pl.col("split").n_unique().over(key) for key in ("id", "origin")) > 1).alias(
                "is_leaked"
            ),
        )
    )


def _summarise(documents: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    import polars as pl

    lengths = pl.col("bytes")
    measures = [
        pl.len().cast(pl.Int64).alias("documents"),
        (pl.len() / max(1, documents.height)).alias("documents_fraction"),
        lengths.sum().cast(pl.Int64).alias("bytes"),
        *(
            lengths.quantile(quantile, "nearest").cast(pl.Int64).alias(f"bytes_{name}")
            for name, quantile in {"p05": 0.05, "median": 0.5, "p95": 0.95}.items()
        ),
        lengths.max().cast(pl.Int64).alias("bytes_max"),
        pl.col("longest_line").max().cast(pl.Int64).alias("longest_line_bytes"),
        (pl.col("non_ascii").sum() / pl.col("characters").sum()).alias("non_ascii_fraction"),
        *(
            pl.col(flag).sum().cast(pl.Int64).alias(name)
            for flag, name in {
                "is_empty": "empty_documents",
                "is_mangled": "replacement_documents",
                "is_duplicate": "duplicate_documents",
                "is_leaked": "leaked_documents",
            }.items()
        ),
    ]
    table = documents.group_by(keys).agg(measures) if keys else documents.select(measures)
    missing = [pl.lit(OVERALL).alias(key) for key in ("split", "domain") if key not in keys]
    return table.with_columns(missing).select("split", "domain", pl.exclude("split", "domain"))


def _ingest_shares(counts: CorpusCounts) -> dict[str, float]:
    """The documents that ingest left out, as shares of those that it read."""
    read_documents = max(1, counts.read_documents)
    unreadable = counts.rejected["binary"].documents + counts.rejected["not_utf8"].documents
    return {
        "dropped_duplicate_fraction": counts.duplicates.documents / read_documents,
        "rejected_fraction": unreadable / read_documents,
    }
