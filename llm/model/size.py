"""The cost of a model, counted from its config without building it."""

from __future__ import annotations

from llm.config import ModelConfig


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Trainable parameters; a tied head counts once."""
    D, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    attention = 2 * D * D + 2 * D * config.num_key_value_heads * head
    layer = attention + 3 * D * config.intermediate_size + 2 * D
    embeddings = vocab_size * D * (1 if config.tie_word_embeddings else 2)
    return embeddings + config.num_hidden_layers * layer + D


def flops_per_token(config: ModelConfig, vocab_size: int, sequence_length: int) -> int:
    """Floating-point operations of one token's forward and backward pass.

    Counts matrix products only: 6 for each weight that is multiplied with (the embedding look-up is not, the head
    is), and 12 * layers * width * length for the scores and the mix of attention, as if it were not causal; norms,
    rotations, softmax and the optimizer are left out. Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
    """
    norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
    look_up = vocab_size * config.hidden_size if not config.tie_word_embeddings else 0
    multiplied = count_parameters(config, vocab_size) - norms - look_up
    return 6 * multiplied + 12 * config.num_hidden_layers * config.hidden_size * sequence_length
