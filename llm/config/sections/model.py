"""The model."""

from __future__ import annotations

from llm.config.sections.base import PositiveFloat, PositiveInt, Section


class ModelConfig(Section):
    """A Llama decoder, in Hugging Face's words; the vocabulary's size comes from the tokenizer."""

    hidden_size: PositiveInt = 256
    """Width of the residual stream."""
    intermediate_size: PositiveInt = 704
    """Width of the SwiGLU layer."""
    num_hidden_layers: PositiveInt = 4
    """Decoder layers."""
    num_attention_heads: PositiveInt = 4
    """Query heads."""
    num_key_value_heads: PositiveInt = 2
    """Key/value heads; must divide the query heads (GQA)."""
    max_position_embeddings: PositiveInt = 512
    """Longest context in tokens."""
    rope_theta: PositiveFloat = 10_000.0
    """Base of the rotary frequencies."""
    rms_norm_eps: PositiveFloat = 1e-5
    """Epsilon of RMSNorm."""
    initializer_range: PositiveFloat = 0.02
    """Standard deviation of the initial weights."""
    tie_word_embeddings: bool = True
    """Whether the output head is the embedding matrix."""
