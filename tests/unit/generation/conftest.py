"""A small decoder with strong opinions, and a tokenizer whose tokens are the 256 bytes."""

from __future__ import annotations

import pytest
import torch

from llm.config import ModelConfig
from llm.generation import Generator
from llm.model import Decoder, initialise

END_OF_TEXT = 256


class Bytes:
    """The simplest tokenizer there is: a byte is its own id."""

    end_of_text = END_OF_TEXT
    vocab_size = 257

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")


@pytest.fixture
def model() -> Decoder:
    config = ModelConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=48,
    )  # fmt: skip
    decoder = Decoder(config, Bytes.vocab_size)
    initialise(decoder, seed=1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return decoder


@pytest.fixture
def generator(model: Decoder) -> Generator:
    return Generator(model, Bytes())
