"""Component report: write the run's report, whatever happened."""

from components.report.component import report

__all__ = ["report"]
