"""Plain text: a file is one document."""

from __future__ import annotations

from collections.abc import Iterator

from llm.config import DataConfig
from llm.data.documents import Document
from llm.data.sources.formats.decode import decoded, read_whole
from llm.data.sources.protocol import Format, Found, InputFile, Reason, Rejection


class Text(Format):
    """A whole file as one document."""

    def recognises(self, file: InputFile) -> bool:
        """Every file that no other format recognises."""
        return True

    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """The one document."""
        yield read_text(file, config.domain or "text", config.licence)


FORMAT = Text()


def read_text(file: InputFile, domain: str, licence: str | None) -> Found:
    """A whole file as one document."""
    with file.open() as stream:
        text = decoded(read_whole(stream, file.name))
    if isinstance(text, Reason):
        return Rejection(file.name, text)
    return Document(text, file.name, domain, licence)
