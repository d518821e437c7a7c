from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import UserError
from llm.evaluation.selection import beginning, select_documents
from llm.evaluation.statistics.intervals import join_clusters


def corpus(rows: list[tuple[str, str, str]], origins: dict[str, str] | None = None) -> pl.DataFrame:
    origins = origins or {}
    return pl.DataFrame(
        {
            "id": [row[0] for row in rows],
            "domain": [row[1] for row in rows],
            "text": [row[2] for row in rows],
            "meta": [json.dumps({"derived_from": origins[row[0]]} if row[0] in origins else {}) for row in rows],
        }
    )


ROWS = [("c", "code", "x" * 30), ("a", "code", "x" * 40), ("d", "code", "x" * 50), ("b", "prose", "é" * 10)]


def test_documents_are_drawn_by_id_up_to_the_one_that_reaches_the_limit():
    assert select_documents(corpus(ROWS), 60)["id"].to_list() == ["a", "c", "b"]
    assert select_documents(corpus(ROWS), 70)["id"].to_list() == ["a", "c", "b"]
    assert select_documents(corpus(ROWS), 71)["id"].to_list() == ["a", "c", "d", "b"]


def test_the_order_of_the_corpus_does_not_matter():
    assert select_documents(corpus(ROWS), 60).equals(select_documents(corpus(ROWS[::-1]), 60))


def test_bytes_are_those_of_utf8():
    assert select_documents(corpus(ROWS), 1)["bytes"].to_list() == [40, 20]


def test_a_long_document_is_cut_and_counts_what_is_left():
    chosen = select_documents(corpus(ROWS), 100, max_bytes_per_document=11)
    assert chosen["bytes"].to_list() == [11, 11, 11, 10]
    assert chosen["text"][3] == "ééééé"


@given(st.text(), st.integers(1, 40))
def test_a_beginning_is_the_longest_one_of_whole_characters_that_fits(text, max_bytes):
    cut = beginning(text, max_bytes)
    assert text.startswith(cut)
    assert len(cut.encode()) <= max_bytes
    assert cut == text or len(text[: len(cut) + 1].encode()) > max_bytes


def test_empty_documents_are_left_out_and_nothing_at_all_is_refused():
    with pytest.raises(UserError, match=r"no test documents to score\n  Ingest more text"):
        select_documents(corpus([("a", "code", "")]), 100)


def test_a_document_and_what_was_made_from_it_are_one_draw():
    chosen = select_documents(corpus(ROWS, origins={"b": "a"}), 1_000).select("cluster", "domain", "bytes")
    assert join_clusters(chosen).rows() == [("a", "code+prose", 60), ("c", "code", 30), ("d", "code", 50)]
