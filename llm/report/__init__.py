"""The report of a run: one page without network, whatever became of the run."""

from llm.report.page import write_report

__all__ = ["write_report"]
