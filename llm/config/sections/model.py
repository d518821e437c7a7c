"""The model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm.config.decides import ADDED
from llm.config.sections.base import PositiveFloat, PositiveInt, Section

LayerType = Literal["full_attention", "sliding_attention"]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class RopeScaling(Section):
    """Rotary frequencies for a context that is longer than the one of the first training."""

    type: Literal["linear", "ntk", "yarn", "llama3"]
    """Formula: all positions by the factor, the base alone, or each frequency by its wavelength (YaRN, Llama 3)."""
    factor: Annotated[float, Field(ge=1.0, allow_inf_nan=False)]
    """Longer context over the earlier one."""
    original_max_position_embeddings: PositiveInt = 4096
    """The earlier context (yarn, llama3)."""
    low_freq_factor: PositiveFloat = 1.0
    """Turns in the earlier context below which a frequency is divided by the whole factor (llama3)."""
    high_freq_factor: PositiveFloat = 4.0
    """Turns in the earlier context above which a frequency stays as it is (llama3)."""
    beta_fast: PositiveFloat = 32.0
    """Turns in the earlier context above which a frequency stays as it is (yarn)."""
    beta_slow: PositiveFloat = 1.0
    """Turns in the earlier context below which a frequency is divided by the whole factor (yarn)."""
    attention_factor: PositiveFloat | None = None
    """Factor on cosines and sines (yarn); None: 0.1 ln(factor) + 1."""
    truncate: bool = True
    """Whether the bounds between the frequencies are rounded to whole ones (yarn)."""

    def stretched(self, theta: float, head_size: int) -> float:
        """The base with which the slowest frequency is divided by the factor, and the fastest is as it was (ntk)."""
        return float(theta * self.factor ** (head_size / (head_size - 2)))


class ModelConfig(Section):
    """A decoder in Hugging Face's words; the vocabulary's size comes from the tokenizer.

    At its defaults it is a Llama. `docs/training.md` says which other combinations `transformers` has a class for.
    """

    hidden_size: PositiveInt = 256
    """Width of the residual stream."""
    intermediate_size: PositiveInt = 704
    """Width of the feed-forward layer."""
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
    """Epsilon of the norms."""
    initializer_range: PositiveFloat = 0.02
    """Standard deviation of the initial weights."""
    tie_word_embeddings: bool = True
    """Whether the output head is the embedding matrix."""
    head_dim: Annotated[PositiveInt | None, ADDED] = None
    """Width of a head; None: the stream's width over the query heads."""
    norm: Annotated[Literal["rms", "layer"], ADDED] = "rms"
    """RMSNorm or LayerNorm."""
    unit_offset_norms: Annotated[bool, ADDED] = False
    """Whether an RMSNorm multiplies by one more than its weight (Gemma)."""
    hidden_act: Annotated[Literal["silu", "gelu", "gelu_pytorch_tanh"], ADDED] = "silu"
    """Activation of the feed-forward layer."""
    gated_mlp: Annotated[bool, ADDED] = True
    """Whether the activation gates a second projection (SwiGLU, GeGLU)."""
    mlp_bias: Annotated[bool, ADDED] = False
    """Whether the projections of the feed-forward layer have biases."""
    attention_bias: Annotated[Literal["none", "qkv", "all"], ADDED] = "none"
    """Projections of the attention that have biases."""
    qk_norm: Annotated[bool, ADDED] = False
    """Whether queries and keys are normalised in each head, before they are turned."""
    position: Annotated[Literal["rotary", "alibi"], ADDED] = "rotary"
    """How a position is known: by rotation, or by a penalty on the distance (ALiBi)."""
    rope_scaling: Annotated[RopeScaling | None, ADDED] = None
    """Longer context than the frequencies were made for; None: as they are."""
    sliding_window: Annotated[PositiveInt | None, ADDED] = None
    """Keys that a query sees in a layer of sliding attention, its own among them."""
    layer_types: Annotated[tuple[LayerType, ...], ADDED] = ("full_attention",)
    """Attention of the layers, repeated until the last."""
    rope_theta_sliding: Annotated[PositiveFloat | None, ADDED] = None
    """Base of the rotary frequencies in layers of sliding attention, without scaling; None: as in the others."""
    query_pre_attn_scalar: Annotated[PositiveInt | None, ADDED] = None
    """Scores are divided by the root of it; None: of the head's width."""
    attn_logit_softcapping: Annotated[PositiveFloat | None, ADDED] = None
    """Bound of the scores, by a hyperbolic tangent; None: none."""
    final_logit_softcapping: Annotated[PositiveFloat | None, ADDED] = None
    """Bound of the logits, by a hyperbolic tangent; None: none."""
    sandwich_norms: Annotated[bool, ADDED] = False
    """Whether the output of attention and of the feed-forward layer is normalised too."""
    scale_embeddings: Annotated[bool, ADDED] = False
    """Whether embeddings are multiplied by the root of their width."""
    num_unique_layers: Annotated[PositiveInt | None, ADDED] = None
    """Layers with weights of their own, which the others repeat in turn (ALBERT: 1); None: all."""
    attention_dropout: Annotated[Share, ADDED] = 0.0
    """Share of attention weights that a training step drops."""
    residual_dropout: Annotated[Share, ADDED] = 0.0
    """Share of the values that a training step drops of each addition to the stream."""

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def unique_layers(self) -> int:
        """Layers with weights of their own."""
        return self.num_unique_layers or self.num_hidden_layers

    @property
    def layers(self) -> list[LayerType]:
        """The attention of each layer."""
        return [self.layer_types[layer % len(self.layer_types)] for layer in range(self.num_hidden_layers)]
