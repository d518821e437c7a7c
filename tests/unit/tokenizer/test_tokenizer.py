"""Every text survives the tokenizer, and everybody else's tokenizers agree with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer

from llm.config import TokenizerConfig
from llm.errors import DamagedError, GristmillError, UserError
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.tokenizer import END_OF_TEXT, load
from llm.tokenizer.train import train_tokenizer

TEXTS = [
    "",
    " ",
    "def f(x):\n    return x  # done\n\n\n",
    "tabs\tand\r\nreturns\r",
    "naïve café, 東京, 🙂🙂, e\u0301",
    "\x00\x01\x7f\ufeff",
    f"a text about {END_OF_TEXT} itself{END_OF_TEXT}",
    "1234567890 " * 3,
]


@pytest.fixture(scope="session")
def peer(vocabulary: Manifest) -> Peer:
    """Hugging Face's tokenizers on our file, told as we are that text holds no special tokens."""
    peer = Peer.from_file(str(vocabulary.file("tokenizer.json")))
    peer.encode_special_tokens = True
    return peer


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_decoded_to_itself(vocabulary: Manifest, text: str):
    tokenizer = load(vocabulary.folder)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=st.text(max_size=60))
def test_any_text_is_decoded_to_itself_and_has_the_ids_of_hugging_face(vocabulary: Manifest, peer: Peer, text: str):
    tokenizer = load(vocabulary.folder)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert ids == peer.encode(text).ids


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_hugging_face(vocabulary: Manifest, peer: Peer, text: str):
    assert load(vocabulary.folder).encode(text) == peer.encode(text).ids


def test_transformers_loads_the_folder_and_knows_the_end_of_text(vocabulary: Manifest):
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(vocabulary.folder), load(vocabulary.folder)
    assert theirs.eos_token_id == ours.end_of_text
    assert len(theirs) == ours.vocab_size
    for text in TEXTS:
        ids = theirs.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert ids == ours.encode(text)
        assert theirs.decode(ids) == text


def test_the_text_of_the_special_token_is_text(vocabulary: Manifest):
    tokenizer = load(vocabulary.folder)
    assert tokenizer.end_of_text not in tokenizer.encode(END_OF_TEXT)
    assert tokenizer.decode([tokenizer.end_of_text, *tokenizer.encode("x")]) == "x"


def test_a_prompt_that_is_no_unicode_is_refused(vocabulary: Manifest):
    with pytest.raises(UserError, match=r"not valid Unicode: character 4 is '\\udcff'"):
        load(vocabulary.folder).encode("caf\u00e9\udcff")


def test_a_character_cut_in_two_is_shown_as_such_and_its_bytes_are_kept(vocabulary: Manifest):
    tokenizer = load(vocabulary.folder)
    first = tokenizer.encode("é")[:1]
    assert tokenizer.decode(first) == "\ufffd"
    assert tokenizer.decode_bytes(first) == "é".encode()[: len(tokenizer.decode_bytes(first))]


def test_the_vocabulary_has_the_size_asked_for_and_all_bytes(vocabulary: Manifest):
    document = json.loads(vocabulary.file("tokenizer.json").read_text())
    assert vocabulary.counts["vocab_size"] == 400
    assert len(document["model"]["vocab"]) == 399
    assert sorted(document["model"]["vocab"].values()) == list(range(399))


def test_training_tells_bytes_per_token_and_round_trips_every_validation_document(
    vocabulary: Manifest, corpus: Manifest
):
    assert vocabulary.counts["documents_round_tripped"] == corpus.counts["by_split"]["validation"]["documents"]
    assert 1.5 < vocabulary.counts["bytes_per_token"]["code"] < 6


def test_training_twice_gives_the_same_file(vocabulary: Manifest, corpus: Manifest, tmp_path: Path):
    again = train_tokenizer(TokenizerConfig(vocab_size=400), corpus, Store(tmp_path), EventLog(tmp_path / "events"))
    assert again.id == vocabulary.id


def test_a_vocabulary_that_the_corpus_cannot_fill_is_refused_with_the_one_it_can(
    corpus: Manifest, store: Store, log: EventLog
):
    with pytest.raises(UserError, match=r"vocab_size=500000 is more than this corpus can fill: it gives (\d+)") as told:
        train_tokenizer(TokenizerConfig(vocab_size=500_000), corpus, store, log)
    assert not (store.root / "tokenizer").exists()
    found = re.search(r"Set tokenizer\.vocab_size to at most (\d+)", str(told.value))
    assert found is not None
    most = int(found[1])
    assert train_tokenizer(TokenizerConfig(vocab_size=most), corpus, store, log).counts["vocab_size"] == most


def test_nonsense_in_place_of_a_tokenizer_is_refused(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DamagedError, match="is not a tokenizer of ours"):
        load(tmp_path)


def test_a_round_trip_that_fails_stops_the_training(corpus: Manifest, store: Store, log: EventLog, monkeypatch):
    from llm.tokenizer.tokenizer import Tokenizer

    monkeypatch.setattr(Tokenizer, "decode_bytes", lambda self, ids: b"something else")
    with pytest.raises(GristmillError, match=r"document [0-9a-f]{32} of the validation split does not survive"):
        train_tokenizer(TokenizerConfig(vocab_size=300), corpus, store, log)


def test_batches_and_single_texts_agree(vocabulary: Manifest):
    tokenizer = load(vocabulary.folder)
    assert [list(map(int, ids)) for ids in tokenizer.encode_batch(TEXTS)] == [tokenizer.encode(text) for text in TEXTS]
    assert all(ids.dtype == np.uint32 for ids in tokenizer.encode_batch(TEXTS))
