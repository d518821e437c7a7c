"""The step deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """It can be served as it is."""
    from llm.serving.triton.repository import build
    from llm.storage.products import RegistrationCounts

    version = RegistrationCounts.of(given["register"]).version
    return build(context.config.serving, given["export"], version, context.store, context.log)


STEP = Step(
    name="deploy",
    reads=("register", "export"),
    body=body,
    purpose="Build the Triton model repository of a registered version.",
    makes=Product("repository", "of the Triton model repository", "Model"),
    sections=("serving",),
    image="export",
    after=("promote",),
    only_if="gate",
)
