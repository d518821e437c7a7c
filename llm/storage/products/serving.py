"""A version in the registry, and what Triton serves of it."""

from __future__ import annotations

from typing import ClassVar

from llm.storage.products.counts import Counts


class RegistrationCounts(Counts):
    """A model that was registered."""

    kind: ClassVar[str] = "registration"

    version: int
    """Its version in the registry."""


class PromotionCounts(Counts):
    """A version that became the champion."""

    kind: ClassVar[str] = "promotion"

    version: int
    """The version in the registry."""


class RepositoryCounts(Counts):
    """A model repository of Triton."""

    kind: ClassVar[str] = "repository"

    model_name: str
    """Name under which Triton serves it."""
    version: int
    """Version in the registry, and in Triton."""
    precision: str | None = None
    """Precision of the weights, such as `int4`."""
