"""Rules of a model, by itself and where it is exported."""

from __future__ import annotations

from llm.config.families import COMMON, FAMILIES, exported, family_of
from llm.config.sections import ModelConfig, RunConfig
from llm.errors import UserError

ONNX_HEAD_MULTIPLE = 16
PLAIN = set(COMMON)
DEFAULTS = ModelConfig().model_dump(exclude=PLAIN)
"""A Llama's settings beyond its sizes."""


def check_model(model: ModelConfig) -> None:
    """Heads must divide the width, and key/value heads the query heads."""
    if model.head_dim is None and model.hidden_size % model.num_attention_heads:
        raise UserError(
            f"model.num_attention_heads={model.num_attention_heads} does not divide"
            f" model.hidden_size={model.hidden_size}",
            f"allowed: {divisors(model.hidden_size)}",
        )
    if model.position == "rotary" and model.head_size % 2:
        raise UserError(
            f"a head of {model.head_size} is odd: rotary embeddings turn pairs",
            "Choose model.hidden_size and model.num_attention_heads with an even quotient, or an even model.head_dim.",
        )
    if model.num_attention_heads % model.num_key_value_heads:
        raise UserError(
            f"model.num_key_value_heads={model.num_key_value_heads} does not divide"
            f" model.num_attention_heads={model.num_attention_heads}",
            f"allowed: {divisors(model.num_attention_heads)}",
        )
    _check_windows(model)
    if model.unit_offset_norms and model.norm == "layer":
        raise UserError("model.unit_offset_norms=true is of RMSNorm, and model.norm=layer", "Leave one of the two out.")
    if model.num_hidden_layers % model.unique_layers:
        raise UserError(
            f"model.num_unique_layers={model.num_unique_layers} does not divide"
            f" model.num_hidden_layers={model.num_hidden_layers}",
            f"allowed: {divisors(model.num_hidden_layers)}",
        )
    if model.position == "alibi" and (model.rope_scaling is not None or model.rope_theta_sliding is not None):
        raise UserError(
            "model.position=alibi turns nothing, and rotary settings are given",
            "Leave out model.rope_scaling and model.rope_theta_sliding, or set model.position=rotary.",
        )
    if model.rope_scaling is not None and model.rope_scaling.high_freq_factor <= model.rope_scaling.low_freq_factor:
        raise UserError(
            "model.rope_scaling.high_freq_factor must be above model.rope_scaling.low_freq_factor",
            "Llama 3.1 has 4 and 1.",
        )


def _check_windows(model: ModelConfig) -> None:
    if len(model.layer_types) not in range(1, model.num_hidden_layers + 1):
        raise UserError(
            f"model.layer_types names {len(model.layer_types)} layers, and the model has {model.num_hidden_layers}",
            "Name one layer or more, at most all: the names are repeated until the last layer.",
        )
    slides = "sliding_attention" in model.layers
    if slides and model.sliding_window is None:
        raise UserError(
            "model.layer_types has layers of sliding_attention, and model.sliding_window is null",
            "Set the window in tokens: model.sliding_window=1024.",
        )
    if not slides and model.sliding_window is not None:
        raise UserError(
            f"model.sliding_window={model.sliding_window}, and no layer slides",
            "Name the layers: model.layer_types=[sliding_attention,full_attention], repeated until the last.",
        )
    if model.sliding_window is not None and model.sliding_window > model.max_position_embeddings:
        raise UserError(
            f"model.sliding_window={model.sliding_window} is longer than the context,"
            f" model.max_position_embeddings={model.max_position_embeddings}",
            "Shorten the window, or leave it out.",
        )


def check_exported(config: RunConfig) -> None:
    """The model must have a class in `transformers`, and heads that ONNX Runtime takes."""
    family = family_of(config.model)
    if family is None:
        nearest = min((one.misfits(exported(config.model)) for one in FAMILIES), key=len)
        raise UserError(
            "no class of transformers computes this model, so it cannot be exported or served:"
            f" the nearest has no model.{', model.'.join(nearest)} of this value",
            "docs/training.md lists the combinations that have one. `gristmill train` trains any.",
        )
    if config.export.tensorrt is not None and exported(config.model).model_dump(exclude=PLAIN) != DEFAULTS:
        raise UserError(
            f"export.tensorrt={config.export.tensorrt} is for a plain Llama, and the model is more than that",
            "Set export.tensorrt=null.",
        )
    _check_head_size(config)


def _check_head_size(config: RunConfig) -> None:
    """ONNX Runtime runs our attention as its operator GroupQueryAttention with `do_rotary`, which asks for this.

    Source: `group_query_attention_helper.h` of onnxruntime 1.32, "head_size must be a multiple of 8" and, with rotary
    embeddings, "head_size shall be a multiple of 16"; it says so when the model runs first, after the training.
    """
    model = config.model
    head_size = model.head_size
    if config.export.onnx and head_size % ONNX_HEAD_MULTIPLE:
        fitting = [
            heads
            for heads in range(1, model.hidden_size + 1)
            if model.hidden_size % (heads * ONNX_HEAD_MULTIPLE) == 0 and heads % model.num_key_value_heads == 0
        ]
        raise UserError(
            f"a head of {head_size} (model.hidden_size={model.hidden_size} over model.num_attention_heads="
            f"{model.num_attention_heads}) cannot be exported: ONNX Runtime needs a multiple of {ONNX_HEAD_MULTIPLE}",
            f"allowed with this width: model.num_attention_heads={' or '.join(map(str, fitting))}."
            if fitting
            else f"Choose model.hidden_size as a multiple of {ONNX_HEAD_MULTIPLE} times model.num_attention_heads.",
        )


def divisors(number: int) -> str:
    """All of them, for a message."""
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)
