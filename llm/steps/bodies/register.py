"""The step register."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """The version gets its parameters and metrics, and the alias challenger."""
    from llm.registry import register
    from llm.steps.outcome import manifest_of
    from llm.storage.products import RegistrationCounts

    version = register(context.config.tracking, context.folder, given)
    model = context.config.tracking.model
    return manifest_of(RegistrationCounts(version=version.version), f"models:/{model}/{version.version}", given)


STEP = Step(
    name="register",
    reads=("ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "gate", "export"),
    body=body,
    purpose="Put a model with its lineage into MLflow's registry.",
    makes=Product("registration", "that names the model version"),
    image="registry",
    is_always_done=True,
)
