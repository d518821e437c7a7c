"""The step evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """Each domain is scored, and compared with gzip and xz."""
    from llm.evaluation.evaluate import evaluate

    return evaluate(
        context.config.evaluation, given["train"], given["tokenizer"], given["ingest"], context.store, context.log
    )


STEP = Step(
    name="evaluate",
    reads=("train", "tokenizer", "ingest"),
    body=body,
    purpose="Score a checkpoint on the test split.",
    makes=Product("scores", "of the evaluation"),
    sections=("evaluation",),
    image="train",
    shows_figures=True,
)
