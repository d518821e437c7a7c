"""The cost of a model, counted from its config without building it."""

from __future__ import annotations

from llm.config import ModelConfig


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Trainable parameters; a tied head counts once, and a layer that repeats another's weights not at all."""
    embeddings = vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    vectors = config.unique_layers * vectors_of_a_layer(config) + _norm(config)
    return embeddings + config.unique_layers * _values_of_matrices(config) + vectors


def flops_per_token(config: ModelConfig, vocab_size: int, sequence_length: int) -> int:
    """Floating-point operations of one token's forward and backward pass.

    Counts matrix products only: 6 for each weight that is multiplied with (the embedding look-up is not, the head
    is), and 12 * layers * width of all heads * keys for the scores and the mix of attention, as if it were not causal;
    the keys of a sliding layer are those of its window. Norms, rotations, softmax and the optimizer are left out.
    Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
    """
    multiplied = config.num_hidden_layers * _values_of_matrices(config) + vocab_size * config.hidden_size
    window = min(sequence_length, config.sliding_window or sequence_length)
    keys = sum(window if kind == "sliding_attention" else sequence_length for kind in config.layers)
    return 6 * multiplied + 12 * config.num_attention_heads * config.head_size * keys


def matrices_of_a_layer(config: ModelConfig) -> list[tuple[int, int]]:
    """Rows and columns of each matrix: queries, keys, values, the way back; gate, up, and down."""
    width, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_attention_heads * config.head_size, config.num_key_value_heads * config.head_size
    into = [(inner, width)] * (2 if config.gated_mlp else 1)
    return [(queries, width), (keys, width), (keys, width), (width, queries), *into, (width, inner)]


def _values_of_matrices(config: ModelConfig) -> int:
    return sum(rows * columns for rows, columns in matrices_of_a_layer(config))


def vectors_of_a_layer(config: ModelConfig) -> int:
    """Values of its norms and biases."""
    width, head = config.hidden_size, config.head_size
    norms = (4 if config.sandwich_norms else 2) * _norm(config) + (2 * head if config.qk_norm else 0)
    qkv = (config.num_attention_heads + 2 * config.num_key_value_heads) * head
    attention = {"none": 0, "qkv": qkv, "all": qkv + width}[config.attention_bias]
    mlp = (2 if config.gated_mlp else 1) * config.intermediate_size + width
    return norms + attention + (mlp if config.mlp_bias else 0)


def _norm(config: ModelConfig) -> int:
    return config.hidden_size * (1 if config.norm == "rms" else 2)
