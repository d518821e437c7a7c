from __future__ import annotations

import numpy as np
import pytest
import torch

from llm.config import ModelConfig
from llm.evaluation.bits_per_byte import score
from llm.evaluation.bits_per_byte.score import batches, score_documents
from llm.model import Decoder, initialise

END_OF_TEXT = 3
VOCAB_SIZE = 41
MODEL = ModelConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=16,
)  # fmt: skip


@pytest.fixture
def model() -> Decoder:
    decoder = Decoder(MODEL, VOCAB_SIZE)
    initialise(decoder, seed=1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)  # so that the tokens' probabilities differ
    return decoder


@pytest.fixture
def documents() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(4, VOCAB_SIZE, length).astype(np.uint16) for length in (5, 0, 16, 1, 50, 17, 24, 9)]


def one_token_at_a_time(model: Decoder, tokens: np.ndarray, window_tokens: int) -> float:
    """The definition, spelled out: each token by a forward pass of its own, from its window's first token on."""
    stream = [END_OF_TEXT, *tokens.tolist()]
    stride = window_tokens - window_tokens // 2
    total = 0.0
    for position in range(len(tokens)):
        end = window_tokens
        while end <= position:
            end += stride
        start = max(0, min(end, len(tokens)) - window_tokens)
        with torch.inference_mode():
            logits = model(torch.tensor([stream[start : position + 1]]))[0, -1]
        total -= float(logits.double().log_softmax(0)[stream[position + 1]])
    return total


@pytest.mark.parametrize("window_tokens", [16, 9, 1])
def test_scores_are_those_of_one_token_at_a_time(model, documents, window_tokens):
    nats = score_documents(model, documents, end_of_text=END_OF_TEXT, window_tokens=window_tokens, batch_size=3)
    expected = [one_token_at_a_time(model, tokens, window_tokens) for tokens in documents]
    np.testing.assert_allclose(nats, expected, rtol=1e-5, atol=1e-6)


def test_the_batch_size_and_the_company_of_a_document_do_not_matter(model, documents):
    settings = {"end_of_text": END_OF_TEXT, "window_tokens": 16}
    together = score_documents(model, documents, batch_size=8, **settings)
    alone = [score_documents(model, [tokens], batch_size=1, **settings)[0] for tokens in documents]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_the_head_in_many_small_pieces_gives_the_same(model, documents, monkeypatch):
    settings = {"end_of_text": END_OF_TEXT, "window_tokens": 16, "batch_size": 4}
    whole = score_documents(model, documents, **settings)
    monkeypatch.setattr(score, "CHUNK_LOGITS", 3 * VOCAB_SIZE)
    np.testing.assert_allclose(score_documents(model, documents, **settings), whole, rtol=1e-6)


def test_a_model_with_its_own_head_is_scored_by_it(documents):
    decoder = Decoder(MODEL.model_copy(update={"tie_word_embeddings": False}), VOCAB_SIZE)
    initialise(decoder, seed=2)
    nats = score_documents(decoder, documents, end_of_text=END_OF_TEXT, window_tokens=16, batch_size=4)
    assert nats[4] == pytest.approx(one_token_at_a_time(decoder, documents[4], 16), rel=1e-5)


def test_a_batch_is_never_larger_than_asked_unless_one_window_is(documents):
    shapes = [batch.inputs.shape for batch in batches(documents, END_OF_TEXT, 16, batch_tokens=32)]
    assert all(rows * length <= 32 for rows, length in shapes)
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)


def test_progress_ends_with_all_tokens_done(model, documents):
    seen = []
    score_documents(
        model, documents, end_of_text=END_OF_TEXT, window_tokens=16, batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (122, 122)


def test_a_model_in_training_is_left_in_training(model, documents):
    model.train()
    score_documents(model, documents, end_of_text=END_OF_TEXT, window_tokens=16, batch_size=2)
    assert model.training
