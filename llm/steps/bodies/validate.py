"""The step validate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """Exit code 3 if the corpus fails it."""
    from llm.data.validation import validate

    return validate(context.config.validation, given["ingest"], context.store, context.log)


STEP = Step(
    name="validate",
    reads=("ingest",),
    body=body,
    purpose="Judge a corpus by its expectation suite.",
    makes=Product("verdict", "of the validation"),
    sections=("validation",),
    image="data",
)
