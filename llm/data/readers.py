"""Documents out of files: plain text (one document a file), JSON Lines (one a line) and Parquet (one a row).

The format goes by the name: `.jsonl` and `.ndjson`, `.parquet`; all else is text. Text is never mended: what holds a
NUL in its first 8 KiB (binary), is not UTF-8, or holds nothing but white space is left out whole and named. What is
wrong in its *form* (a line that is not JSON, no text field) is the user's to mend, and is an error.

A line or row may carry `source`, `domain`, `licence` (or `license`) and `meta`; they go before the configuration's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from llm.config import DataConfig
from llm.data.documents import Document
from llm.data.sources import InputFile
from llm.errors import UserError

BINARY_PROBE_BYTES = 8 << 10
MAX_DOCUMENT_BYTES = 1 << 30
CHUNK_BYTES = 1 << 20
BATCH_ROWS = 1024
CARRIED = ("source", "domain", "licence", "license", "meta")


class Reason(StrEnum):
    """Why a document was left out."""

    BINARY = "binary"
    NOT_UTF8 = "not_utf8"
    EMPTY = "empty"


@dataclass(frozen=True)
class Rejection:
    """A document that was left out whole, and why."""

    name: str
    reason: Reason


def read(file: InputFile, config: DataConfig) -> Iterator[Document | Rejection]:
    """All documents of a file in their order, one at a time; raises UserError naming the file and the place in it."""
    if file.format in (".jsonl", ".ndjson"):
        yield from _read_json_lines(file, config)
    elif file.format == ".parquet":
        yield from _read_parquet(file, config)
    else:
        yield read_text(file, config.domain or "text", config.licence)


def read_text(file: InputFile, domain: str, licence: str | None) -> Document | Rejection:
    """A whole file as one document."""
    with file.open() as stream:
        text = checked(_read_whole(stream, file.name))
    if isinstance(text, Reason):
        return Rejection(file.name, text)
    return Document(text, file.name, domain, licence)


def checked(data: bytes) -> str | Reason:
    """The text that the bytes hold, unchanged, or why they are left out."""
    if b"\0" in data[:BINARY_PROBE_BYTES]:
        return Reason.BINARY
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Reason.NOT_UTF8
    return text if text and not text.isspace() else Reason.EMPTY


def _read_json_lines(file: InputFile, config: DataConfig) -> Iterator[Document | Rejection]:
    with file.open() as stream:
        number = 0
        while line := _at_most(stream.readline(MAX_DOCUMENT_BYTES + 1), f"{file.name}:{number + 1}"):
            number += 1
            if line.strip():
                yield _from_json(line, f"{file.name}:{number}", config)


def _from_json(line: bytes, name: str, config: DataConfig) -> Document | Rejection:
    try:
        decoded = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Rejection(name, Reason.NOT_UTF8)
    try:
        record = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not JSON: {error}", "Each line must be one JSON object.") from error
    if not isinstance(record, dict):
        raise UserError(f"{name} is not a JSON object but {_type(record)}", "Each line must be one JSON object.")
    if config.text_field not in record:
        raise UserError(
            f'{name} has no field "{config.text_field}"',
            f"It has: {', '.join(record) or 'nothing'}. Name the field that holds the text with data.text_field=….",
        )
    text = record[config.text_field]
    if not isinstance(text, str):
        raise UserError(f'{name}: "{config.text_field}" is {_type(text)}, not a string')
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can say it, UTF-8 cannot
        return Rejection(name, Reason.NOT_UTF8)
    return _document(data, name, record, config)


def _read_parquet(file: InputFile, config: DataConfig) -> Iterator[Document | Rejection]:
    try:
        with file.open() as stream:
            # Parquet is read from its end: a compressed stream has to be unpacked first.
            table = pq.ParquetFile(pa.BufferReader(stream.read()) if file.compression else str(file.path))
        columns = _parquet_columns(table.schema_arrow, file.name, config)
        row = 0
        for batch in table.iter_batches(BATCH_ROWS, columns=columns):
            texts = batch.column(config.text_field).cast(pa.large_binary()).to_pylist()
            others = batch.select([name for name in columns if name != config.text_field]).to_pylist()
            for text, record in zip(texts, others or [{}] * len(texts), strict=True):
                row += 1
                yield _document(_at_most(text or b"", f"{file.name}:{row}"), f"{file.name}:{row}", record, config)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"{file.path} is damaged, or not Parquet: {str(error).splitlines()[0]}",
            "Copy it again, or take it out of data.path.",
        ) from error


def _parquet_columns(schema: Any, name: str, config: DataConfig) -> list[str]:
    if config.text_field not in schema.names:
        raise UserError(
            f'{name} has no column "{config.text_field}"',
            f"It has: {', '.join(schema.names)}. Name the column that holds the text with data.text_field=….",
        )
    carried = [column for column in CARRIED if column in schema.names and column != config.text_field]
    wanted = [config.text_field, *carried]
    if twice := [column for column in wanted if schema.names.count(column) > 1]:
        raise UserError(f'{name} has more than one column "{twice[0]}"', "Rename one of them.")
    kind = schema.field(config.text_field).type
    if str(kind) not in ("string", "large_string", "string_view", "binary", "large_binary", "binary_view"):
        raise UserError(f'{name}: column "{config.text_field}" is {kind}, not a string')
    return wanted


def _document(data: bytes, name: str, record: Mapping[str, Any], config: DataConfig) -> Document | Rejection:
    """A document from its text and whatever else its line or row carries."""
    text = checked(data)
    if isinstance(text, Reason):
        return Rejection(name, text)
    licence = _carried(record, "licence", name) or _carried(record, "license", name)
    return Document(
        text,
        source=_carried(record, "source", name) or name,
        domain=_carried(record, "domain", name) or config.domain or "text",
        licence=licence or config.licence,
        meta=_meta(record.get("meta"), name),
    )


def _carried(record: Mapping[str, Any], key: str, name: str) -> str | None:
    value = record.get(key)
    if value is None or (isinstance(value, str) and _is_utf8(value)):
        return value
    raise UserError(f'{name}: "{key}" is {_type(value)}, not a string of UTF-8')


def _meta(value: Any, name: str) -> dict[str, Any]:
    """The `meta` of a line or row: an object, or an object written as JSON."""
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UserError(f'{name}: "meta" is not JSON: {error}') from error
    if not isinstance(value, dict):
        raise UserError(f'{name}: "meta" is {_type(value)}, not an object')
    try:
        document = json.dumps(value, default=str, allow_nan=False, ensure_ascii=False)  # Parquet may hold dates
        meta: dict[str, Any] = json.loads(document.encode())
    except (ValueError, RecursionError) as error:  # NaN, half of a surrogate pair: polars reads neither
        raise UserError(f'{name}: "meta" cannot be kept as JSON: {error}') from error
    if "derived_from" in meta and not _is_id(meta["derived_from"]):
        raise UserError(f'{name}: "meta.derived_from" is {meta["derived_from"]!r}, not the id of a document')
    return meta


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef")


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _read_whole(stream: BinaryIO, name: str) -> bytes:
    data = bytearray()
    while chunk := stream.read(CHUNK_BYTES):  # a compressed file does not say how much is in it
        data += _at_most(chunk, name, already=len(data))
    return bytes(data)


def _at_most(data: bytes, name: str, already: int = 0) -> bytes:
    if already + len(data) > MAX_DOCUMENT_BYTES:
        raise UserError(
            f"{name} is a document of more than {MAX_DOCUMENT_BYTES >> 30} GiB",
            "One file, line or row is one document: cut it into parts, or write it as JSON Lines (.jsonl).",
        )
    return data


def _type(value: object) -> str:
    """JSON's word for a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
