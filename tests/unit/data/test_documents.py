from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.data import SPLITS, Document, read_split
from llm.data import documents as documents_module
from llm.data.documents import CorpusWriter
from llm.errors import DamagedError, UserError
from llm.storage import Manifest, Recipe, Store

WORDS = st.text(st.characters(codec="utf-8"), max_size=40)
DOCUMENTS = st.builds(
    Document,
    text=WORDS,
    source=WORDS,
    domain=WORDS,
    licence=st.none() | WORDS,
    meta=st.dictionaries(WORDS, st.none() | st.integers() | WORDS, max_size=3),
)


def written(placed: list[tuple[Document, str]], folder: Path) -> Manifest:
    with Store(folder).stage("corpus", Recipe("test", {})) as stage:
        with CorpusWriter(stage.path) as writer:
            for document, split in placed:
                writer.add(document, split)
        return stage.commit()


@settings(deadline=None, max_examples=30)  # each example flushes a product to the disk
@given(st.lists(st.tuples(DOCUMENTS, st.sampled_from(SPLITS)), max_size=12))
def test_what_is_written_is_read_split_by_split_in_its_order(placed: list[tuple[Document, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = written(placed, Path(folder))
        for split in SPLITS:
            rows = read_split(corpus, split).to_dicts()
            assert rows == [document.as_row() for document, place in placed if place == split]
            assert [json.loads(row["meta"]) for row in rows] == [d.meta for d, place in placed if place == split]


def test_many_row_groups_hold_the_same_documents_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "ROW_GROUP_BYTES", 100)
    placed = [(Document(f"document {number} " * 5, "s", "d"), "train") for number in range(20)]
    corpus = written(placed, tmp_path)
    assert read_split(corpus, "train")["text"].to_list() == [document.text for document, _ in placed]


def test_the_id_is_the_start_of_the_sha256_of_the_text() -> None:
    text = "żółć\n"
    document = Document(text, "a", "b")
    assert document.id == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert document.id == Document(text, "elsewhere", "other", "MIT", {"k": 1}).id
    assert document.size_bytes == 9


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    corpus = written([(Document("t", "s", "d"), "test")], tmp_path)
    assert read_split(corpus, "test", ["domain", "id"]).columns == ["domain", "id"]
    assert read_split(corpus, "train").schema["licence"] == pl.String


def test_a_changed_split_is_refused_by_name(tmp_path: Path) -> None:
    corpus = written([(Document("t", "s", "d"), "test")], tmp_path)
    (corpus.folder / "test.parquet").write_bytes(b"other")
    with pytest.raises(DamagedError, match=r"test\.parquet of corpus .* is damaged"):
        read_split(corpus, "test")


def test_a_split_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no file dev\.parquet"):
        read_split(written([], tmp_path), "dev")
