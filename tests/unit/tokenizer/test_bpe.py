"""Our trainer learns what Hugging Face's learns, and stops where there is nothing left to learn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer
from tokenizers import models, pre_tokenizers, trainers

from llm.tokenizer import Tokenizer
from llm.tokenizer.bpe import END_OF_TEXT, GigatokenTrainer, byte_alphabet

RUNS = st.tuples(st.sampled_from("ab= \n#\x00é"), st.integers(1, 20)).map(lambda run: run[0] * run[1])
CORPORA = st.lists(st.lists(RUNS, max_size=40).map("".join), max_size=5)


def merges_of_hugging_face(texts: list[str], entries: int) -> list[list[str]]:
    peer = Peer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=entries, show_progress=False, initial_alphabet=alphabet)
    peer.train_from_iterator([part for text in texts for part in text.split("\x00")], trainer)
    merges: list[list[str]] = json.loads(peer.to_str())["model"]["merges"]
    return merges


def trained(texts: list[str], vocab_size: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(GigatokenTrainer().train(texts, vocab_size))
    return document


@settings(max_examples=50, deadline=None)
@given(texts=CORPORA, vocab_size=st.sampled_from([257, 270, 300, 1000]))
def test_the_merges_are_those_of_hugging_faces_trainer_and_ids_have_no_holes(texts: list[str], vocab_size: int):
    document = trained(texts, vocab_size)
    assert document["model"]["merges"] == merges_of_hugging_face(texts, vocab_size - 1)
    ids = [*document["model"]["vocab"].values(), document["added_tokens"][0]["id"]]
    assert ids == list(range(len(ids)))
    assert len(ids) <= vocab_size


def test_a_text_of_one_word_fills_no_more_than_that_word():
    document = trained(["abab" * 100], 300)
    assert len(document["model"]["merges"]) == 10  # by doubling: 2, 4, … 256 bytes, 128 + 16, 256 + 144
    tokenizer = Tokenizer(json.dumps(document))
    assert tokenizer.encode("abab" * 100) == [tokenizer.vocab_size - 2]


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["\x00"]])
def test_a_corpus_without_a_pair_of_bytes_gives_the_bytes_alone(texts: list[str]):
    tokenizer = Tokenizer(GigatokenTrainer().train(texts, 1000))
    assert tokenizer.vocab_size == 257
    assert tokenizer.decode(tokenizer.encode("é\x00")) == "é\x00"


def test_the_alphabet_is_that_of_hugging_face():
    assert sorted(byte_alphabet().values()) == sorted(pre_tokenizers.ByteLevel.alphabet())


def test_the_end_of_text_is_the_last_entry():
    document = trained(["hello hello hello"], 258)
    assert [(token["content"], token["id"]) for token in document["added_tokens"]] == [(END_OF_TEXT, 257)]


def test_training_writes_nothing_to_the_terminal(capfd: pytest.CaptureFixture[str]):
    GigatokenTrainer().train(["hello hello"], 258)
    assert capfd.readouterr() == ("", "")
