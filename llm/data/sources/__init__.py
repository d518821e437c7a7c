"""Sources: where text lies, and the formats that it is written in. A new one is one file: docs/extend/source.md."""

from llm.data.sources.discovery import code_of, format_of, source_of
from llm.data.sources.protocol import Format, Found, InputFile, Reason, Rejection, Source

__all__ = [
    "Format",
    "Found",
    "InputFile",
    "Reason",
    "Rejection",
    "Source",
    "code_of",
    "format_of",
    "source_of",
]
