"""The evaluation and the gate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm.config.sections.base import PositiveFloat, PositiveInt, Resamples, Section, Seed


class EvaluationConfig(Section):
    """How the model is scored on the test split."""

    max_bytes_per_domain: PositiveInt = 300_000
    """Text to score in each domain; documents are drawn by their id until it is reached."""
    max_bytes_per_document: PositiveInt | None = 32_768
    """Longer documents are scored on this much of their beginning, so that the text comes from more of them and the
    intervals are narrow; None: whole documents."""
    batch_size: PositiveInt = 8
    """Full windows in one forward pass."""
    bootstrap_resamples: Resamples = 10_000
    """Resamples of documents behind each confidence interval."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of the intervals."""
    prompts: tuple[str, ...] = ("def", "class", "import", "The", "Return")
    """Prompts of the samples; without a space at the end, as a token carries the space before its word."""
    sample_tokens: PositiveInt = 64
    """Tokens of one sample."""
    sample_temperature: PositiveFloat = 0.8
    """Temperature of the drawn samples; each prompt also gets a greedy one."""
    sample_top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Probability mass that the drawn samples choose from."""
    seed: Seed = 1234
    """Seed of the bootstrap and of the samples."""


class GateConfig(Section):
    """What a candidate must show before it is promoted."""

    max_bits_per_byte: PositiveFloat = 3.0
    """Floor without a champion: overall bits per byte must be at most this."""
    max_domain_bits_per_byte: dict[str, PositiveFloat] = Field(default_factory=dict)
    """The same by domain, for domains that need their own floor."""
    non_inferiority_margin: PositiveFloat = 0.02
    """Bits per byte that a domain may get worse against the champion."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of the paired comparison."""
    bootstrap_resamples: Resamples = 10_000
    """Resamples of documents."""
    seed: Seed = 1234
    """Seed of the bootstrap."""
