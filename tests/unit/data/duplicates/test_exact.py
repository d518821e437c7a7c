from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm.data import Document
from llm.data.duplicates import Deduplicator, unique

FEW_TEXTS = st.lists(st.builds(Document, st.sampled_from("abcde"), st.sampled_from("xyz"), st.just("d")), max_size=20)


@given(FEW_TEXTS)
def test_dropping_duplicates_twice_drops_nothing_more(documents: list[Document]) -> None:
    once = list(unique(documents))
    assert list(unique(once)) == once


@given(FEW_TEXTS)
def test_every_text_stays_once_in_the_order_of_its_first_appearance(documents: list[Document]) -> None:
    assert [d.text for d in unique(documents)] == list(dict.fromkeys(d.text for d in documents))


def test_what_was_dropped_is_counted_in_documents_and_bytes() -> None:
    seen = Deduplicator()
    kept = [seen.is_new(Document(text, "s", "d")) for text in ("ż", "b", "ż", "ż")]
    assert kept == [True, True, False, False]
    assert (seen.dropped_documents, seen.dropped_bytes) == (2, 4)
