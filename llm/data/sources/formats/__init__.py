"""Formats: one module each, with a constant `FORMAT`. `decode` and `record` are their shared parts."""

from llm.data.sources.formats.decode import at_most, decoded, read_whole
from llm.data.sources.formats.record import document_of

__all__ = ["at_most", "decoded", "document_of", "read_whole"]
