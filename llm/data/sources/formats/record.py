"""A document from a record: a line of JSON, or a row of a table, with what it carries besides the text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm.config import DataConfig
from llm.data.documents import Document
from llm.data.sources.formats.decode import decoded
from llm.data.sources.protocol import Found, Reason, Rejection
from llm.errors import UserError

CARRIED = ("source", "domain", "licence", "license", "meta")


def document_of(data: bytes, name: str, record: Mapping[str, Any], config: DataConfig) -> Found:
    """A document from its text and whatever else its line or row carries."""
    text = decoded(data)
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
    raise UserError(f'{name}: "{key}" is {type_name(value)}, not a string of UTF-8')


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
        raise UserError(f'{name}: "meta" is {type_name(value)}, not an object')
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


def type_name(value: object) -> str:
    """JSON's word for a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
