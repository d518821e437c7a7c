"""Bits per byte as a metric: nats / ln 2 / bytes of UTF-8, with what gzip and xz need for the same text.

It compares models of any tokenizer. The perplexity is per token and compares only models that share a tokenizer.
Nats are rounded to 1e-4, so that the last bits of float32 sums do not give equal work unequal ids.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llm.errors import UserError
from llm.evaluation.metric import Figures, Metric, Subject

if TYPE_CHECKING:
    import polars as pl

PROTOCOL = {
    "version": 1,
    "dtype": "float32",
    "document_start": "<|endoftext|>",
    "document_end": "not scored",
    "history": "at least half a window",
}
"""Two scores can be compared if these are equal. A change of the scoring's meaning raises the version."""


def measure(subject: Subject) -> pl.DataFrame:
    """One row a document: bits per byte weighted by bytes, with its tokens and nats.

    Raises UserError if the model gives a document no finite probability.
    """
    import numpy as np
    import polars as pl

    from llm.evaluation.bits_per_byte.score import score_documents

    documents, generator = subject.documents, subject.generator
    tokens = generator.tokenizer.encode_batch(documents["text"].to_list())
    nats = score_documents(
        generator.model,
        tokens,
        end_of_text=generator.tokenizer.end_of_text,
        window_tokens=subject.window_tokens,
        batch_size=subject.batch_size,
        progress=lambda done, total: subject.progress("tokens scored", done, total),
    )
    unknown = ~np.isfinite(nats)
    if unknown.any():
        raise UserError(
            f"the model gives no finite probability to {unknown.sum()} of {len(nats)} documents",
            f"The first is {documents['id'][int(np.flatnonzero(unknown)[0])]}."
            " The training diverged: lower the learning rate and train again.",
        )
    nats = np.round(nats, 4)
    return subject.items(
        value=nats / math.log(2) / documents["bytes"].to_numpy(),
        weight=documents["bytes"],
        tokens=pl.Series([len(ids) for ids in tokens], dtype=pl.Int64),
        nats=pl.Series(nats),
    )


def compressors(subject: Subject, items: pl.DataFrame) -> Figures:
    """Bits per byte of gzip and xz on the same documents."""
    from llm.evaluation.bits_per_byte.compressors import gzip_bits_per_byte, xz_bits_per_byte

    subject.progress("comparing with gzip and xz", 0, 1)
    texts = subject.documents.join(items.select("id"), on="id", how="semi")["text"].to_list()
    return {"gzip": gzip_bits_per_byte(texts), "xz": xz_bits_per_byte(texts)}


def per_token(subject: Subject, items: pl.DataFrame) -> Figures:
    """The perplexity, None if it is not finite, and the tokens that it is an average over."""
    tokens, nats = int(items["tokens"].sum()), float(items["nats"].sum())
    try:
        perplexity = math.exp(nats / tokens) if tokens else None
    except OverflowError:
        perplexity = None
    return {"perplexity": perplexity, "tokens": tokens}


METRIC = Metric(
    name="bits_per_byte",
    unit="bits per byte",
    better="lower",
    measure=measure,
    about=(
        "How many bits the model needs for a byte of text that it never saw. gzip and xz compressed the same documents."
        " Perplexity is per token and compares only models with the same tokenizer."
    ),
    weight_unit="bytes",
    protocol=PROTOCOL,
    references=compressors,
    details=per_token,
)
