from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from llm.data import Document
from llm.data.documents import CorpusWriter
from llm.data.statistics import statistics
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import Amount, CorpusCounts, LeftOut

INGEST = {
    "read_documents": 10,
    "duplicates": Amount(documents=2, bytes=9),
    "rejected": {name: LeftOut(documents=1, first=[]) for name in ("binary", "not_utf8", "empty")},
}
Corpus = Callable[..., Manifest]


@pytest.fixture
def corpus(store: Store) -> Corpus:
    """A corpus of the given (text, domain) pairs in each split; ingest would not let all of them in."""

    def make(**splits: list[Document]) -> Manifest:
        with store.stage("corpus", Recipe("test", {})) as stage:
            with CorpusWriter(stage.path) as writer:
                for split, documents in splits.items():
                    for document in documents:
                        writer.add(document, split)
            return stage.commit(CorpusCounts(documents=0, bytes=0, by_split={}, by_domain={}, **INGEST))

    return make


def text(content: str, domain: str = "prose", **meta: str) -> Document:
    return Document(content, "s", domain, meta=meta)


def row(manifest: Manifest, split: str, domain: str) -> dict[str, Any]:
    (found,) = [one for one in statistics(manifest).to_dicts() if (one["split"], one["domain"]) == (split, domain)]
    return found


def test_there_is_a_row_for_each_split_and_domain_and_their_totals(corpus: Corpus) -> None:
    table = statistics(corpus(train=[text("a"), text("b", "code")], validation=[text("c")], test=[text("d", "code")]))
    assert table.select("split", "domain", "documents").rows() == [
        ("train", "code", 1),
        ("train", "prose", 1),
        ("train", "overall", 2),
        ("validation", "prose", 1),
        ("validation", "overall", 1),
        ("test", "code", 1),
        ("test", "overall", 1),
        ("overall", "code", 2),
        ("overall", "prose", 2),
        ("overall", "overall", 4),
    ]


def test_lengths_are_counted_in_bytes_and_quantiles_are_lengths_that_occur(corpus: Corpus) -> None:
    found = row(corpus(train=[text("ż" * number) for number in range(1, 102)]), "train", "prose")
    assert found["bytes"] == 2 * sum(range(1, 102))
    assert [found[f"bytes_{name}"] for name in ("p05", "median", "p95", "max")] == [12, 102, 192, 202]


def test_the_longest_line_and_the_share_of_non_ascii_characters(corpus: Corpus) -> None:
    found = row(corpus(train=[text("ab\nżółw\n\nc"), text("xyz")]), "overall", "overall")
    assert found["longest_line_bytes"] == 7
    assert found["non_ascii_fraction"] == 3 / 13


def test_empty_mangled_and_repeated_documents_are_counted(corpus: Corpus) -> None:
    found = row(corpus(train=[text(" \n"), text("a\ufffdb"), text("twice"), text("twice")]), "train", "overall")
    assert (found["empty_documents"], found["replacement_documents"], found["duplicate_documents"]) == (1, 1, 2)
    assert found["leaked_documents"] == 0


def test_a_text_in_two_splits_is_a_leak_and_so_is_one_made_from_a_text_in_another(corpus: Corpus) -> None:
    source = text("source")
    manifest = corpus(
        train=[text("both"), source, text("made here", derived_from=source.id)],
        validation=[text("both")],
        test=[text("fine")],
    )
    assert row(manifest, "overall", "overall")["leaked_documents"] == 2
    manifest = corpus(train=[source], test=[text("made", derived_from=source.id), text("fine")])
    assert [row(manifest, split, "overall")["leaked_documents"] for split in ("train", "test")] == [1, 1]


def test_what_ingest_did_not_let_in_stands_in_the_last_row_only(corpus: Corpus) -> None:
    *others, last = statistics(corpus(train=[text("a")])).to_dicts()
    assert (last["dropped_duplicate_fraction"], last["rejected_fraction"]) == (0.2, 0.2)
    assert {(one["dropped_duplicate_fraction"], one["rejected_fraction"]) for one in others} == {(None, None)}


def test_the_table_of_an_ingested_corpus_agrees_with_its_counts(texts: Path, ingested: Callable[..., Manifest]) -> None:
    (texts / "more.jsonl").write_text(json.dumps({"text": "x", "domain": "code"}))
    manifest = ingested(texts)
    table = statistics(manifest)
    for split, amount in CorpusCounts.of(manifest).by_split.items():
        assert row(manifest, split, "overall")["documents"] == amount.documents
        assert row(manifest, split, "overall")["bytes"] == amount.bytes
    assert table.select("duplicate_documents", "leaked_documents", "empty_documents").sum().row(0) == (0, 0, 0)
    assert_frame_equal(table, statistics(manifest))
