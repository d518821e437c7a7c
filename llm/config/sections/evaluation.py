"""The evaluation and the gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm.config.sections.base import FiniteFloat, PositiveFloat, PositiveInt, Resamples, Section, Seed, Text


class EvaluationConfig(Section):
    """How the model is measured on the test split."""

    metrics: Annotated[tuple[Text, ...], Field(min_length=1)] = ("bits_per_byte",)
    """The metrics: names, or import paths `package.module:OBJECT` (`docs/extend/metric.md`)."""
    max_bytes_per_domain: PositiveInt = 300_000
    """Text to score in each domain; documents are drawn by their id until it is reached."""
    max_bytes_per_document: PositiveInt | None = 32_768
    """Longer documents are scored on this much of their beginning, so that the text comes from more of them and the
    intervals are narrow; None: whole documents."""
    batch_size: PositiveInt = 8
    """Full windows in one forward pass."""
    bootstrap_resamples: Resamples = 10_000
    """Resamples of items behind each confidence interval, of the scores and of the gate."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of the intervals, of the scores and of the gate."""
    prompts: tuple[str, ...] = ("def", "class", "import", "The", "Return")
    """Prompts of the samples; without a space at the end, as a token carries the space before its word."""
    seed: Seed = 1234
    """Seed of the bootstrap and of the samples."""


class MetricRule(Section):
    """The rule for a candidate in one metric."""

    overall: Literal["superiority", "non-inferiority"] = "superiority"
    """Against a champion, over all domains: better for certain, or not worse by more than the margin for certain."""
    margin: PositiveFloat
    """How much worse than the champion a domain may get, in the metric's unit."""
    floor: FiniteFloat | None = None
    """Without a champion: the overall figure must be this good, or better; None: no floor."""
    domain_floors: dict[str, FiniteFloat] = Field(default_factory=dict)
    """The same by domain, for domains that need their own floor."""


class GateConfig(Section):
    """The rules for a candidate's promotion.

    The intervals are those of the evaluation (`evaluation.confidence`, `evaluation.bootstrap_resamples`,
    `evaluation.seed`).
    """

    metrics: Annotated[dict[str, MetricRule], Field(min_length=1)] = Field(
        default_factory=lambda: {"bits_per_byte": MetricRule(margin=0.02, floor=3.0)}
    )
    """The metrics that decide, each with its rule; what else `evaluation.metrics` names is shown and decides nothing.
    `gate.metrics.NAME.margin=…` adds a metric or changes it, `gate.metrics={NAME: {margin: …}}` replaces them all."""
