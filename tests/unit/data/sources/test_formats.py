from __future__ import annotations

import gzip
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llm.config import DataConfig
from llm.data import Document
from llm.data.sources import Reason, Rejection, source_of
from llm.data.sources.formats import decode, decoded
from llm.errors import UserError


def all_of(path: Path, **settings: Any) -> list[Document | Rejection]:
    source = source_of(str(path))
    (file,) = source.files(str(path))
    return list(source.read(file, DataConfig(**settings)))


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_text_is_taken_as_it_is_or_not_at_all(text: str) -> None:
    found = decoded(text.encode())
    assert found == text or (found is Reason.BINARY and "\0" in text) or (found is Reason.EMPTY and not text.strip())


@given(st.binary())
def test_bytes_are_never_mended(data: bytes) -> None:
    found = decoded(data)
    assert isinstance(found, Reason) or found.encode() == data


def test_a_text_file_is_one_document_unchanged_to_the_byte(tmp_path: Path) -> None:
    text = "\ufefffirst\r\nsecond\rthird \n\n"
    (document,) = all_of(written(tmp_path / "a.txt", text), licence="MIT")
    assert document == Document(text, "a.txt", "text", "MIT")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ab\0cd", "binary"),
        (b"\xff\xfeh\0i\0", "binary"),
        (b"caf\xe9", "not_utf8"),
        (b"", "empty"),
        (b" \n\t", "empty"),
    ],
)
def test_what_is_not_text_is_left_out_whole_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    assert all_of(written(tmp_path / "a.txt", content)) == [Rejection("a.txt", Reason(reason))]


def test_a_nul_far_inside_does_not_make_a_text_binary() -> None:
    assert decoded(b"a" * 8192 + b"\0") == "a" * 8192 + "\0"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_json_lines_are_a_document_each_and_may_carry_their_own_particulars(tmp_path: Path, pack: Any) -> None:
    own = {"text": "b", "domain": "law", "license": "CC0", "source": "http://x", "meta": {"year": 1999}, "other": 1}
    lines = "\ufeff" + json.dumps({"text": "a"}) + "\n\n" + json.dumps(own)
    ending = {bytes: "", gzip.compress: ".gz", zstandard.compress: ".zst"}[pack]
    path = written(tmp_path / f"d.jsonl{ending}", pack(lines.encode()))
    assert all_of(path, domain="news", licence="MIT") == [
        Document("a", f"{path.name}:1", "news", "MIT"),
        Document("b", "http://x", "law", "CC0", {"year": 1999}),
    ]


def test_a_json_line_that_utf8_cannot_say_is_left_out_by_line(tmp_path: Path) -> None:
    lines = b'{"text": "\\ud800"}\n{"text": "caf\xe9"}\n{"text": "a\\u0000b"}\n{"text": ""}\n'
    assert all_of(written(tmp_path / "d.jsonl", lines)) == [
        Rejection("d.jsonl:1", Reason.NOT_UTF8),
        Rejection("d.jsonl:2", Reason.NOT_UTF8),
        Rejection("d.jsonl:3", Reason.BINARY),
        Rejection("d.jsonl:4", Reason.EMPTY),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'text': 1}", r"d\.jsonl:2 is not JSON: Expecting property name"),
        ("[" * 100_000, r"d\.jsonl:2 is not JSON: .*recursion"),
        ("[1]", r"d\.jsonl:2 is not a JSON object but an array"),
        ("null", r"d\.jsonl:2 is not a JSON object but null"),
        ('{"body": "x", "id": 1}', r'd\.jsonl:2 has no field "text"\n  It has: body, id\. .*data\.text_field'),
        ('{"text": 7}', r'd\.jsonl:2: "text" is a number, not a string'),
        ('{"text": null}', r'd\.jsonl:2: "text" is null, not a string'),
        ('{"text": "x", "domain": ["a"]}', r'd\.jsonl:2: "domain" is an array, not a string'),
        ('{"text": "x", "source": "\\udc00"}', r'd\.jsonl:2: "source" is a string, not a string of UTF-8'),
        ('{"text": "x", "meta": 3}', r'd\.jsonl:2: "meta" is a number, not an object'),
        ('{"text": "x", "meta": "{"}', r'd\.jsonl:2: "meta" is not JSON'),
        ('{"text": "x", "meta": {"a": NaN}}', r'd\.jsonl:2: "meta" cannot be kept as JSON: Out of range'),
        ('{"text": "x", "meta": {"a": "\\ud800"}}', r'd\.jsonl:2: "meta" cannot be kept as JSON'),
        ('{"text": "x", "meta": "' + "[" * 100_000 + '"}', r'd\.jsonl:2: "meta" is not JSON'),
        ('{"text": "x", "meta": {"derived_from": "?"}}', r"d\.jsonl:2: .*derived_from.* is '\?', not the id"),
    ],
)
def test_a_json_line_of_the_wrong_form_is_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        all_of(written(tmp_path / "d.jsonl", '{"text": "fine"}\n' + line + "\n"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_parquet_rows_are_a_document_each(tmp_path: Path, pack: Any, kind: Any) -> None:
    bodies = pa.array(["a", None, "c"], pa.string()).cast(kind)
    table = {"body": bodies, "domain": ["x", None, None], "other": [1, 2, 3]}
    path = written(tmp_path / ("d.parquet" + (".gz" if pack is gzip.compress else "")), pack(parquet(table)))
    assert all_of(path, text_field="body") == [
        Document("a", f"{path.name}:1", "x"),
        Rejection(f"{path.name}:2", Reason.EMPTY),
        Document("c", f"{path.name}:3", "text"),
    ]


def test_parquet_meta_may_be_a_struct_with_dates(tmp_path: Path) -> None:
    path = written(tmp_path / "d.parquet", parquet({"text": ["a"], "meta": [{"day": date(2026, 7, 1)}]}))
    assert all_of(path) == [Document("a", "d.parquet:1", "text", None, {"day": "2026-07-01"})]


def test_parquet_text_that_is_not_utf8_is_left_out_by_row(tmp_path: Path) -> None:
    column = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"]).buffers())
    assert all_of(written(tmp_path / "d.parquet", parquet({"text": column}))) == [
        Rejection("d.parquet:1", Reason.NOT_UTF8)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (parquet({"body": ["x"], "n": [1]}), r'd\.parquet has no column "text"\n  It has: body, n\.'),
        (parquet({"text": [1]}), r'd\.parquet: column "text" is int64, not a string'),
        (parquet({"text": ["x" * 1000]})[:-50], r"d\.parquet is damaged, or not Parquet: "),
        (b"plain text, long enough to be read", r"d\.parquet is damaged, or not Parquet: "),
        (b"", r"d\.parquet is damaged, or not Parquet: "),
    ],
)
def test_parquet_of_the_wrong_form_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        all_of(written(tmp_path / "d.parquet", content))


def test_parquet_with_two_columns_of_a_wanted_name_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), buffer)
    with pytest.raises(UserError, match=r'd\.parquet has more than one column "text"'):
        all_of(written(tmp_path / "d.parquet", buffer.getvalue()))


def test_parquet_damaged_in_the_middle_is_refused_by_name(tmp_path: Path) -> None:
    content = bytearray(parquet({"text": [f"text {number}" for number in range(5000)]}))
    content[2000:4000] = b"\xff" * 2000
    with pytest.raises(UserError, match=r"d\.parquet is damaged, or not Parquet: "):
        all_of(written(tmp_path / "d.parquet", bytes(content)))


@pytest.mark.parametrize("name", ["d.txt", "d.txt.gz", "d.jsonl", "d.parquet"])
def test_a_document_too_large_for_memory_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_DOCUMENT_BYTES", 100)
    content = {
        "d.txt": b"x" * 101,
        "d.txt.gz": gzip.compress(b"x" * 101),
        "d.jsonl": json.dumps({"text": "x" * 101}).encode(),
        "d.parquet": parquet({"text": ["x" * 101]}),
    }[name]
    with pytest.raises(UserError, match=rf"{name}.* is a document of more than"):
        all_of(written(tmp_path / name, content))
