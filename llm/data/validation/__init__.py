"""Validation: an expectation suite judges the statistics of a corpus."""

from llm.data.validation.suite import suite_path
from llm.data.validation.validate import validate

__all__ = ["suite_path", "validate"]
