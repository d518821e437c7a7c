"""JSON Lines: a line is one document, an object with a text field.

A line may carry `source`, `domain`, `licence` (or `license`) and `meta`; they go before the configuration's. A line of
the wrong form (not JSON, no text field) is an error, not a rejection: the user can mend it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from llm.config import DataConfig
from llm.data.sources.formats import decode
from llm.data.sources.formats.record import document_of, type_name
from llm.data.sources.protocol import Format, Found, InputFile, Reason, Rejection
from llm.errors import UserError


class JsonLines(Format):
    """`.jsonl` and `.ndjson`."""

    def recognises(self, file: InputFile) -> bool:
        """By the name."""
        return file.format in (".jsonl", ".ndjson")

    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """A document a line; an empty line is none."""
        with file.open() as stream:
            number = 0
            while line := decode.at_most(stream.readline(decode.MAX_DOCUMENT_BYTES + 1), f"{file.name}:{number + 1}"):
                number += 1
                if line.strip():
                    yield _from_json(line, f"{file.name}:{number}", config)


FORMAT = JsonLines()


def _from_json(line: bytes, name: str, config: DataConfig) -> Found:
    try:
        decoded = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Rejection(name, Reason.NOT_UTF8)
    try:
        record = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not JSON: {error}", "Each line must be one JSON object.") from error
    if not isinstance(record, dict):
        raise UserError(f"{name} is not a JSON object but {type_name(record)}", "Each line must be one JSON object.")
    if config.text_field not in record:
        raise UserError(
            f'{name} has no field "{config.text_field}"',
            f"It has: {', '.join(record) or 'nothing'}. Name the field that holds the text with data.text_field=….",
        )
    text = record[config.text_field]
    if not isinstance(text, str):
        raise UserError(f'{name}: "{config.text_field}" is {type_name(text)}, not a string')
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can say it, UTF-8 cannot
        return Rejection(name, Reason.NOT_UTF8)
    return document_of(data, name, record, config)
