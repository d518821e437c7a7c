"""The scores of a checkpoint, and the gate's judgement of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from llm.storage.products.counts import Counts, Part


class MetricKind(Part):
    """The unit and the direction of a metric."""

    unit: str
    """In words, such as "errors per word"."""
    better: Literal["lower", "higher"]
    """Which direction is an improvement."""


class EvaluationCounts(Counts):
    """The headline figures of an evaluation. In the manifest each has its own name, without nesting."""

    kind: ClassVar[str] = "evaluation"

    figures: Mapping[str, int | float | None]
    """Each figure over all documents under its name, and by domain under `NAME/DOMAIN`; null: undefined."""

    metrics: Mapping[str, MetricKind] = Field(default_factory=dict)
    """Which of the figures are metrics, in the order of `evaluation.metrics`; empty: an earlier version made them."""

    def document(self) -> dict[str, Any]:
        """The figures, flat, and the metrics."""
        metrics = {name: kind.model_dump() for name, kind in self.metrics.items()}
        return {**self.figures, **({"metrics": metrics} if metrics else {})}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        """Take the numbers of the document for figures; what is no number, from a later version, stays as it is."""
        is_figure = {name: value is None or type(value) in (int, float) for name, value in document.items()}
        figures = {name: value for name, value in document.items() if is_figure[name]}
        return {**{name: value for name, value in document.items() if not is_figure[name]}, "figures": figures}


class GateCounts(Counts):
    """The judgement of the gate."""

    kind: ClassVar[str] = "gate"

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    """The answer of the gate."""
    passed: int
    """1 if the verdict is PASS, else 0: the number that a pipeline branches on."""
