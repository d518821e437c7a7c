"""A checkpoint that continues text, token by token, with a key/value cache.

A continuation ends at `<|endoftext|>`, after `max_new_tokens`, or where the model's context is full. Laws: with
the cache or without it, the tokens are the same; the pieces of text joined are the tokens decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import torch

from llm.errors import UserError
from llm.generation.sampling import Sampling, next_token
from llm.model import Decoder, KeyValueCache
from llm.model.weights import load as load_model
from llm.storage import Manifest
from llm.tokenizer import Tokenizer, refuse_other_tokenizer
from llm.tokenizer import load as load_tokenizer

REPLACEMENT = "\ufffd"
"""The character that decoding gives for bytes that are not whole characters (yet)."""
GREEDY = Sampling()


class Generator:
    """A model and its tokenizer, ready to continue text."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer) -> None:
        """Take a model that shares the tokenizer's vocabulary; it is put into evaluation mode."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.context_tokens = model.config.max_position_embeddings

    @classmethod
    def open(cls, checkpoint: Manifest, tokenizer: Manifest) -> Self:
        """Load both from their products, each checked first; raises DamagedError, UserError if they are no pair."""
        refuse_other_tokenizer(checkpoint, tokenizer)
        return cls(load_model(checkpoint.verify()), load_tokenizer(tokenizer.verify()))

    def tokens(self, prompt: str, max_new_tokens: int, sampling: Sampling = GREEDY) -> Iterator[int]:
        """Yield the ids that follow `prompt`, without the end of text; raises UserError if it fills it."""
        if max_new_tokens < 1:
            raise UserError(f"max_new_tokens={max_new_tokens} is not possible", "allowed: 1 or more")
        prompt_ids = [self.tokenizer.end_of_text, *self.tokenizer.encode(prompt)]
        if len(prompt_ids) >= self.context_tokens:
            raise UserError(
                f"the prompt is too long: {len(prompt_ids)} tokens with <|endoftext|>",
                f"The model's context is {self.context_tokens} tokens; leave room for at least one more.",
            )
        room = min(max_new_tokens, self.context_tokens - len(prompt_ids))
        return self._continue(prompt_ids, room, sampling)

    def text(self, prompt: str, max_new_tokens: int, sampling: Sampling = GREEDY) -> Iterator[str]:
        """Yield pieces of the continuation as soon as their characters are whole."""
        pending: list[int] = []
        for token in self.tokens(prompt, max_new_tokens, sampling):
            pending.append(token)
            piece = self.tokenizer.decode(pending)
            if not piece.endswith(REPLACEMENT):
                pending.clear()
                yield piece
        if pending:
            yield self.tokenizer.decode(pending)

    def complete(self, prompt: str, max_new_tokens: int, sampling: Sampling = GREEDY) -> str:
        """The whole continuation, without the prompt."""
        return "".join(self.text(prompt, max_new_tokens, sampling))

    def _continue(self, prompt_ids: Sequence[int], room: int, sampling: Sampling) -> Iterator[int]:
        draws = torch.Generator().manual_seed(sampling.seed)
        cache = KeyValueCache(self.model.config.num_hidden_layers)
        input_ids_BT = torch.tensor([prompt_ids])
        for _ in range(room):
            with torch.inference_mode():
                logits_BTV = self.model(input_ids_BT, cache)
            token = next_token(logits_BTV[0, -1], sampling, draws)
            if token == self.tokenizer.end_of_text:
                return
            yield token
            input_ids_BT = torch.tensor([[token]])


def stream_text(
    checkpoint: Manifest, tokenizer: Manifest, prompt: str, max_new_tokens: int, sampling: Sampling = GREEDY
) -> Iterator[str]:
    """Yield pieces of a checkpoint's continuation of `prompt`; raises as `Generator.open` and `.tokens` do."""
    return Generator.open(checkpoint, tokenizer).text(prompt, max_new_tokens, sampling)
