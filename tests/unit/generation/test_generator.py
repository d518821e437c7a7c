from __future__ import annotations

import pytest
import torch

from llm.errors import UserError
from llm.generation import GREEDY, Sampling
from llm.generation.sampling import next_token

from .conftest import END_OF_TEXT


def without_cache(generator, prompt: str, max_new_tokens: int, sampling: Sampling) -> list[int]:
    """The definition: the whole text through the model for every token."""
    ids, prompt_tokens = [END_OF_TEXT, *generator.tokenizer.encode(prompt)], len(generator.tokenizer.encode(prompt)) + 1
    draws = torch.Generator().manual_seed(sampling.seed)
    while len(ids) < min(generator.context_tokens, prompt_tokens + max_new_tokens):
        with torch.inference_mode():
            token = next_token(generator.model(torch.tensor([ids]))[0, -1], sampling, draws)
        if token == END_OF_TEXT:
            break
        ids.append(token)
    return ids[prompt_tokens:]


SETTINGS = [GREEDY, Sampling(1.0, seed=5), Sampling(0.7, top_k=20, top_p=0.9, seed=9)]


@pytest.mark.parametrize("sampling", SETTINGS)
@pytest.mark.parametrize("prompt", ["", "def ", "a longer prompt, of 30 bytes.."])
def test_the_cache_changes_no_token(generator, prompt, sampling):
    assert list(generator.tokens(prompt, 20, sampling)) == without_cache(generator, prompt, 20, sampling)


def test_a_seed_repeats_its_continuation_and_another_gives_another(generator):
    texts = [generator.complete("x", 20, Sampling(1.0, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_end_of_text_ends_the_continuation_and_is_not_part_of_it(generator, monkeypatch):
    monkeypatch.setattr("llm.generation.generator.next_token", iter_of([104, 105, END_OF_TEXT, 106]))
    assert list(generator.tokens("x", 20)) == [104, 105]


def test_the_continuation_ends_where_the_context_is_full(generator, monkeypatch):
    monkeypatch.setattr("llm.generation.generator.next_token", lambda *_: 104)
    assert len(list(generator.tokens("x" * 40, 100))) == 48 - 41


def test_a_prompt_that_fills_the_context_is_refused_before_any_work(generator):
    with pytest.raises(UserError, match="the prompt is too long: 48 tokens"):
        generator.tokens("x" * 47, 1)


@pytest.mark.parametrize("count", [0, -3])
def test_asking_for_no_tokens_is_refused(generator, count):
    with pytest.raises(UserError, match=f"max_new_tokens={count} is not possible"):
        generator.tokens("x", count)


def test_text_comes_in_whole_characters(generator, monkeypatch):
    wanted = "né ☃ 🦔!"
    monkeypatch.setattr("llm.generation.generator.next_token", iter_of([*wanted.encode(), END_OF_TEXT]))
    assert list(generator.text("x", 40)) == list(wanted)


@pytest.mark.parametrize("data", [b"a\xff\xfeb", b"abc\xe2\x98", b"\xf0\x9f", b"\xe2A\x98"])
def test_pieces_of_text_joined_are_the_tokens_decoded(generator, monkeypatch, data):
    monkeypatch.setattr("llm.generation.generator.next_token", iter_of([*data, END_OF_TEXT]))
    assert generator.complete("x", 40) == data.decode(errors="replace")


def iter_of(ids: list[int]):
    """A `next_token` that gives these ids one after another."""
    remaining = iter(ids)
    return lambda *_: next(remaining)
