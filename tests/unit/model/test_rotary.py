"""The tables of rotary positions are those of transformers, bit for bit."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from llm.model.rotary import rotary_tables


@pytest.mark.parametrize("theta", [100.0, 10_000.0, 1e6])
@pytest.mark.parametrize(("head_size", "length"), [(2, 512), (22, 2048), (64, 8192), (128, 8192)])
def test_tables_are_bit_equal_to_those_of_transformers(head_size: int, length: int, theta: float):
    config = LlamaConfig(
        hidden_size=head_size, num_attention_heads=1, max_position_embeddings=length,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )  # fmt: skip
    theirs = LlamaRotaryEmbedding(config)(torch.zeros(1, length, head_size), torch.arange(length)[None])
    for ours, table in zip(rotary_tables(head_size, length, theta), theirs, strict=True):
        assert torch.equal(ours, table[0])
