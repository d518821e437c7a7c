"""From bytes to the text of a document, or the reason why it is left out. Text is never mended.

A document is left out whole if it holds a NUL in its first 8 KiB (binary), is not UTF-8, or is all white space.
"""

from __future__ import annotations

from typing import BinaryIO

from llm.data.sources.protocol import Reason
from llm.errors import UserError

BINARY_PROBE_BYTES = 8 << 10
MAX_DOCUMENT_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20


def decoded(data: bytes) -> str | Reason:
    """The text that the bytes hold, unchanged, or why they are left out."""
    if b"\0" in data[:BINARY_PROBE_BYTES]:
        return Reason.BINARY
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Reason.NOT_UTF8
    return text if text and not text.isspace() else Reason.EMPTY


def read_whole(stream: BinaryIO, name: str) -> bytes:
    """All bytes of a stream; raises UserError, with `name`, for more than a document may have."""
    data = bytearray()
    while chunk := stream.read(CHUNK_BYTES):  # a compressed file does not say how much is in it
        data += at_most(chunk, name, already=len(data))
    return bytes(data)


def at_most(data: bytes, name: str, already: int = 0) -> bytes:
    """The same bytes; raises UserError if they are, with those `already` read, more than a document may have."""
    if already + len(data) > MAX_DOCUMENT_BYTES:
        raise UserError(
            f"{name} is a document of more than {MAX_DOCUMENT_BYTES >> 30} GiB",
            "One file, line or row is one document: cut it into parts, or write it as JSON Lines (.jsonl).",
        )
    return data
