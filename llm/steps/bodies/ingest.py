"""The step ingest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """Every format becomes one; exact duplicates are dropped; the split follows from the content."""
    from llm.data.ingest import ingest

    return ingest(context.config.data, context.store, context.log)


STEP = Step(
    name="ingest",
    reads=(),
    body=body,
    purpose="Read the text into a corpus.",
    makes=Product("corpus", "of the corpus", "Dataset"),
    sections=("data",),
    image="data",
    shows_figures=True,
)
