"""A corpus becomes one row of ids a split, with every document's boundaries kept."""

from __future__ import annotations

import numpy as np
import pytest

from llm.data.documents import read_split
from llm.data.shards import TokenShards, token_type
from llm.errors import DamagedError
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.tokenizer import load
from llm.tokenizer.shards import write_shards


@pytest.fixture
def shards(corpus: Manifest, vocabulary: Manifest, store: Store, log: EventLog) -> Manifest:
    return write_shards(corpus, vocabulary, store, log)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_document_is_there_behind_its_boundary(shards, corpus, vocabulary, split: str):
    opened, tokenizer = TokenShards.open(shards), load(vocabulary.folder)
    tokens, offsets = opened.tokens(split), opened.document_offsets(split)
    texts = read_split(corpus, split, ["text"])["text"].to_list()
    assert len(offsets) == len(texts) + 1
    for text, start, end in zip(texts, offsets, offsets[1:], strict=False):
        assert tokens[start] == opened.end_of_text
        assert tokenizer.decode(tokens[start + 1 : end]) == text
    assert offsets[-1] == len(tokens)


def test_the_counts_are_those_of_the_files(shards: Manifest):
    opened = TokenShards.open(shards)
    assert shards.counts["train"]["tokens"] == len(opened.tokens("train"))
    assert shards.counts["train"]["documents"] == len(opened.document_offsets("train")) - 1


def test_there_is_no_test_split_to_train_on(shards: Manifest):
    assert not [entry.path for entry in shards.files if "test" in entry.path]


def test_ids_are_read_by_memmap(shards: Manifest):
    assert isinstance(TokenShards.open(shards).tokens("train"), np.memmap)


def test_a_damaged_shard_is_refused_when_it_is_opened(shards: Manifest):
    path = shards.folder / "train.bin"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"train\.bin of shards"):
        TokenShards.open(shards)


@pytest.mark.parametrize(("vocab_size", "name"), [(300, "<u2"), (65_536, "<u2"), (65_537, "<u4")])
def test_the_smallest_type_that_holds_every_id_is_used(vocab_size: int, name: str):
    assert token_type(vocab_size) == np.dtype(name)


def test_the_same_corpus_gives_the_same_shards(shards, corpus, vocabulary, tmp_path):
    assert write_shards(corpus, vocabulary, Store(tmp_path / "other"), EventLog(tmp_path / "events")).id == shards.id
