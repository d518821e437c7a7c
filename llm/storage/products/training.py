"""A checkpoint, and the model that is exported from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from llm.storage.products.counts import Counts


class CheckpointCounts(Counts):
    """The progress of a training."""

    kind: ClassVar[str] = "checkpoint"

    steps: int
    """Steps of the training."""
    tokens: int
    """Tokens trained on."""
    loss: float | None = None
    """Loss of the last step in nats per token."""
    validation_loss: float | None = None
    """The last loss on the validation split in nats per token; null: never measured."""


class ModelCounts(Counts):
    """An exported model."""

    kind: ClassVar[str] = "model"

    formats: Sequence[str]
    """Folders of the product, one a format."""
    checks: int
    """Number of comparisons with the checkpoint, all of which it passed."""
