"""The step tokenize."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """Each split is one row of token ids, ready to be read by memmap."""
    from llm.tokenizer.shards import write_shards

    return write_shards(given["ingest"], given["tokenizer"], context.store, context.log)


STEP = Step(
    name="tokenize",
    reads=("ingest", "tokenizer"),
    body=body,
    purpose="Cut a validated corpus into token shards.",
    makes=Product("shards", "of the token shards", "Dataset"),
    image="data",
    shows_figures=True,
)
