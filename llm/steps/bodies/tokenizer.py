"""The step tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """It is a byte-level BPE."""
    if (text := context.config.tokenizer.adopted) is not None:
        from llm.adoption.tokenizer import tokenizer_named

        return tokenizer_named(text, context.config.tokenizer.vocab_size, context.store)
    from llm.tokenizer.train import train_tokenizer

    return train_tokenizer(context.config.tokenizer, given["ingest"], context.store, context.log)


STEP = Step(
    name="tokenizer",
    reads=("ingest",),
    body=body,
    purpose="Train the tokenizer on a corpus.",
    makes=Product("vocabulary", "of the tokenizer"),
    sections=("tokenizer",),
    image="data",
    shows_figures=True,
    after=("validate",),
)
