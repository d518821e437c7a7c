"""Shards give back the documents that were written, and are opened only as they were written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.shards import ShardWriter, TokenShards, write_meta
from llm.errors import DamagedError
from llm.storage import Manifest, Recipe, Store

END_OF_TEXT = 0


def write(folder: Path, documents: list[tuple[list[int], str]], vocab_size: int) -> None:
    with ShardWriter(folder, "train", vocab_size) as writer:
        for ids, domain in documents:
            writer.add(np.array([END_OF_TEXT, *ids]), domain)
    write_meta(folder, vocab_size, END_OF_TEXT)


@pytest.fixture
def shards(store: Store) -> Manifest:
    recipe = Recipe("tokenize", {})
    with store.stage("shards", recipe) as stage:
        write(stage.path, [([1, 2, 3], "code"), ([], "prose"), ([4], "code")], 300)
        return stage.commit()


@given(
    vocab_size=st.sampled_from([300, 65_536, 65_537, 200_000]),
    documents=st.lists(st.tuples(st.lists(st.integers(1, 299), max_size=5), st.sampled_from("ab")), max_size=8),
)
def test_every_document_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, vocab_size, documents):
    folder = tmp_path_factory.mktemp("shards")
    documents = [*documents, ([vocab_size - 1], "a")]
    write(folder, documents, vocab_size)
    shards = TokenShards(folder, "fingerprint")
    tokens, offsets = shards.tokens("train"), shards.document_offsets("train")
    read = [tokens[start:end].tolist() for start, end in itertools.pairwise(offsets)]
    assert read == [[END_OF_TEXT, *ids] for ids, _ in documents]
    assert offsets[0] == 0
    assert offsets[-1] == len(tokens)


def test_ids_take_two_bytes_in_a_vocabulary_that_fits_and_four_in_a_larger(tmp_path: Path):
    for vocab_size, width in ((65_536, 2), (65_537, 4)):
        write(tmp_path, [([7], "code")], vocab_size)
        assert (tmp_path / "train.bin").stat().st_size == 2 * width


def test_the_domain_of_each_document_is_kept(shards: Manifest):
    document = json.loads(shards.file("train.domains.json").read_text())
    assert [document["names"][number] for number in document["documents"]] == ["code", "prose", "code"]


def test_a_split_without_documents_is_an_empty_row(tmp_path: Path):
    write(tmp_path, [], 300)
    shards = TokenShards(tmp_path, "fingerprint")
    assert shards.tokens("train").tolist() == []
    assert shards.document_offsets("train").tolist() == [0]


def test_the_fingerprint_is_the_products_id(shards: Manifest):
    opened = TokenShards.open(shards)
    assert (opened.fingerprint, opened.vocab_size, opened.end_of_text) == (shards.id, 300, END_OF_TEXT)


def test_what_is_read_cannot_be_written(shards: Manifest):
    with pytest.raises(ValueError, match="read-only"):
        TokenShards.open(shards).tokens("train")[0] = 1


def test_a_shard_that_was_cut_short_or_removed_is_refused_by_name(shards: Manifest):
    path = shards.folder / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DamagedError, match=r"train\.bin of shards \w+ is damaged: its manifest says 14 bytes"):
        TokenShards.open(shards)
    path.unlink()
    with pytest.raises(DamagedError, match=r"train\.bin of shards \w+ is missing"):
        TokenShards.open(shards)


def test_a_writer_that_was_interrupted_leaves_no_boundaries(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, "train", 300):
        raise KeyboardInterrupt
    assert not (tmp_path / "train.documents.npy").exists()
