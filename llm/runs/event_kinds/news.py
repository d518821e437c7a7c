"""News from a step while it works."""

from __future__ import annotations

from typing import Literal

from llm.runs.event_kinds.event import Event


class Progress(Event):
    """The progress of a step. It is shown on the live line, and leaves no line of its own."""

    kind: Literal["progress"] = "progress"
    step: str
    """Name of the step, or of the program that speaks in its place."""
    message: str
    """The work that it does now."""
    done: int | None = None
    """Amount that is done, in the unit of `total`; null: not known."""
    total: int | None = None
    """Amount that there is to do; null: not known."""


class Warned(Event):
    """The user should know this, and the run continues. The report shows each message once."""

    kind: Literal["warning"] = "warning"
    message: str
    """One line."""


class MetricMeasured(Event):
    """A result was measured."""

    kind: Literal["metric"] = "metric"
    name: str
    """Name in MLflow: `test/NAME` for a metric of the evaluation."""
    value: int | float
    """In the unit of the metric."""


class Judged(Event):
    """The gate gave its verdict."""

    kind: Literal["judged"] = "judged"
    verdict: str
    """PASS, FAIL or INCONCLUSIVE."""
    words: list[str]
    """The verdict with its consequence, and each reason with its figures."""
