"""The manifest of a step whose outcome is in the registry, not in the store."""

from __future__ import annotations

from llm.steps.step import Given
from llm.storage import Manifest, identity
from llm.storage.products import PromotionCounts, RegistrationCounts


def manifest_of(outcome: RegistrationCounts | PromotionCounts, uri: str, given: Given) -> Manifest:
    """A manifest without files that names a model version by its URI."""
    parents = tuple(manifest.as_parent() for manifest in given.values())
    kind, counts = outcome.kind, outcome.document()
    return Manifest(
        kind=kind, id=identity(kind, (), counts, {}, parents), uri=uri, files=(), counts=counts, parents=parents
    )
