"""The tracking."""

from __future__ import annotations

from llm.config.sections.base import PositiveFloat, Section


class TrackingConfig(Section):
    """MLflow."""

    uri: str | None = None
    """Tracking server; None: SQLite and files beside the runs."""
    experiment: str = "gristmill"
    """MLflow experiment."""
    model: str = "gristmill"
    """Name of the registered model."""
    timeout_seconds: PositiveFloat = 10.0
    """How long an answer may take."""
