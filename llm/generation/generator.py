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
from llm.tokenizer import Tokenizer
from llm.tokenizer import load as load_tokenizer

REPLACEMENT = "\ufffd"
"""What decoding gives for bytes that are not whole characters (yet)."""


class Generator:
    """A model and its tokenizer, ready to continue text."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer) -> None:
        """Take a model that shares the tokenizer's vocabulary; it is put into evaluation mode."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.context_tokens = model.config.max_position_embeddings

    @classmethod
    def open(cls, checkpoint: Manifest, tokenizer: Manifest) -> Self:
        """Load both from their products, each checked first; raises DamagedError."""
        return cls(load_model(checkpoint.verify()), load_tokenizer(tokenizer.verify()))

    def tokens(self, prompt: str, sampling: Sampling) -> Iterator[int]:
        """Yield the ids that follow `prompt`, without the end of text; raises UserError if it fills the context."""
        prompt_ids = [self.tokenizer.end_of_text, *self.tokenizer.encode(prompt)]
        if len(prompt_ids) >= self.context_tokens:
            raise UserError(
                f"the prompt is too long: {len(prompt_ids)} tokens with <|endoftext|>",
                f"The model's context is {self.context_tokens} tokens; leave room for at least one more.",
            )
        return self._continue(prompt_ids, sampling)

    def text(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """Yield pieces of the continuation as soon as their characters are whole."""
        pending: list[int] = []
        for token in self.tokens(prompt, sampling):
            pending.append(token)
            piece = self.tokenizer.decode(pending)
            if not piece.endswith(REPLACEMENT):
                pending.clear()
                yield piece
        if pending:
            yield self.tokenizer.decode(pending)

    def complete(self, prompt: str, sampling: Sampling) -> str:
        """The whole continuation, without the prompt."""
        return "".join(self.text(prompt, sampling))

    def _continue(self, prompt_ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        draws = torch.Generator().manual_seed(sampling.seed)
        room = min(sampling.max_new_tokens, self.context_tokens - len(prompt_ids))
        cache = KeyValueCache(self.model.config, batch_size=1, max_tokens=len(prompt_ids) + room)
        input_ids_BT = torch.tensor([prompt_ids])
        for _ in range(room):
            with torch.inference_mode():
                logits_BTV = self.model(input_ids_BT, cache)
            token = next_token(logits_BTV[0, -1], sampling, draws)
            if token == self.tokenizer.end_of_text:
                return
            yield token
            input_ids_BT = torch.tensor([[token]])
