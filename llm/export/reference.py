"""The answers of the checkpoint itself: logits and greedy continuations, which every format is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llm.data.documents import read_split
from llm.errors import UserError
from llm.model import Decoder, KeyValueCache
from llm.storage import Manifest
from llm.tokenizer import Tokenizer

Logits = NDArray[np.float32]
"""Logits of the next token after each position, [T, V]."""
MAX_TOKENS = 256
"""Tokens of a document that are compared at most."""
DOCUMENTS = 8
"""Validation documents that are compared: with MAX_TOKENS some two thousand positions, in seconds."""
CONTINUATION_TOKENS = 64
"""Tokens of a greedy continuation. They are computed with the cache, and a mistake in the cache shows within a few."""


@dataclass(frozen=True)
class Reference:
    """One document: its ids, and what the checkpoint makes of them."""

    text: str
    ids: list[int]
    """`<|endoftext|>` and the document's tokens, cut to the model's context."""
    logits: Logits
    prompt: list[int]
    """The ids that the continuation starts from."""
    continuation: list[int]
    """Greedy tokens after the prompt, the closing `<|endoftext|>` included."""
    margins: list[float]
    """How far each of them was ahead of the second most likely token."""


def references(model: Decoder, tokenizer: Tokenizer, corpus: Manifest) -> list[Reference]:
    """The first DOCUMENTS validation documents by id, each with a greedy continuation of CONTINUATION_TOKENS tokens.

    Raises UserError if the validation split has no text.
    """
    split = read_split(corpus, "validation", ["id", "text"]).sort("id").head(DOCUMENTS)
    texts = [text for text in split["text"].to_list() if text]
    if not texts:
        raise UserError(
            "the validation split is empty: exported models have nothing to be compared on",
            "Give more text, or raise data.validation_fraction.",
        )
    return [_reference(model, tokenizer, text) for text in texts]


def _reference(model: Decoder, tokenizer: Tokenizer, text: str) -> Reference:
    context = model.config.max_position_embeddings
    tokens = min(CONTINUATION_TOKENS, context // 2)
    ids = [tokenizer.end_of_text, *tokenizer.encode(text)][: min(MAX_TOKENS, context)]
    prompt = ids[: min(len(ids), context - tokens) // 2 + 1]
    with torch.inference_mode():
        logits = model(torch.tensor([ids]))[0].float().numpy()
    continuation, margins = _greedy(model, prompt, tokens, tokenizer.end_of_text)
    return Reference(text, ids, logits, prompt, continuation, margins)


def _greedy(model: Decoder, prompt: Sequence[int], tokens: int, end_of_text: int) -> tuple[list[int], list[float]]:
    cache = KeyValueCache(model.config.num_hidden_layers)
    continuation: list[int] = []
    margins: list[float] = []
    step = torch.tensor([list(prompt)])
    with torch.inference_mode():
        while len(continuation) < tokens:
            best = model(step, cache)[0, -1].float().topk(2)
            continuation.append(int(best.indices[0]))
            margins.append(float(best.values[0] - best.values[1]))
            if continuation[-1] == end_of_text:
                break
            step = torch.tensor([[continuation[-1]]])
    return continuation, margins


def mean_loss_bits(logits: Sequence[Logits], references: Sequence[Reference]) -> float:
    """Mean loss of the documents' tokens under the given logits, bits per token."""
    losses = [_losses(found, np.array(reference.ids)) for found, reference in zip(logits, references, strict=True)]
    return float(np.concatenate(losses).mean() / np.log(2))


def _losses(logits_TV: Logits, ids_T: NDArray[np.int64]) -> NDArray[np.float64]:
    scores_TV = logits_TV[:-1].astype(np.float64)
    highest_T = scores_TV.max(axis=1, keepdims=True)
    log_sum_T = np.log(np.exp(scores_TV - highest_T).sum(axis=1)) + highest_T[:, 0]
    result: NDArray[np.float64] = log_sum_T - scores_TV[np.arange(len(scores_TV)), ids_T[1:]]
    return result
