"""The tracking."""

from __future__ import annotations

from llm.config.sections.base import PositiveFloat, Section, Text


class TrackingConfig(Section):
    """MLflow, and what else follows a run."""

    uri: str | None = None
    """Tracking server; None: SQLite and files next to the runs."""
    experiment: str = "gristmill"
    """MLflow experiment."""
    model: str = "gristmill"
    """Name of the registered model."""
    timeout_seconds: PositiveFloat = 10.0
    """How long an answer may take."""
    sinks: tuple[Text, ...] = ("mlflow",)
    """The sinks that follow the events of a run: names, or import paths `package.module:OBJECT`. The step register
    sends to MLflow in any case."""
