"""Rules of how the passes are computed: precision, device and kernels."""

from __future__ import annotations

from llm.config.sections import RunConfig, TrainingConfig
from llm.errors import UserError


def check_compute(config: RunConfig) -> None:
    """Raise UserError for a precision, a device or a kernel that does not fit the rest."""
    _check_precision(config.training)
    _check_float8(config)
    _check_recomputation(config)
    _check_device(config)
    _check_window_kernel(config)


def _check_precision(training: TrainingConfig) -> None:
    if training.compute.precision == "fp16" and training.parallel.backend.name == "deepspeed":
        raise UserError(
            "training.compute.precision=fp16 with training.parallel.backend.name=deepspeed: its loss scale is not ours",
            "Set training.parallel.backend.name=torch or fsdp, or training.compute.precision=bf16.",
        )


def _check_float8(config: RunConfig) -> None:
    model, parallel = config.model, config.training.parallel
    if config.training.compute.precision != "fp8":
        return
    if parallel.backend.name == "deepspeed" or parallel.tensor > 1:
        which = f"backend.name={parallel.backend.name}" if parallel.tensor == 1 else f"tensor={parallel.tensor}"
        raise UserError(
            f"training.compute.precision=fp8 with training.parallel.{which}: torchao's layers were not made for it",
            "Set training.parallel.backend.name=torch or fsdp and training.parallel.tensor=1.",
        )
    sizes = {
        f"model.hidden_size={model.hidden_size}": model.hidden_size,
        f"model.intermediate_size={model.intermediate_size}": model.intermediate_size,
        f"model.num_key_value_heads={model.num_key_value_heads} of {model.head_size}":
            model.num_key_value_heads * model.head_size,
        f"model.num_attention_heads={model.num_attention_heads} of {model.head_size}":
            model.num_attention_heads * model.head_size,
    }  # fmt: skip
    for what, size in sizes.items():
        if size % 16:
            raise UserError(
                f"training.compute.precision=fp8 with {what}: the sizes of a matrix must be multiples of 16",
                f"nearest: {max(16, round(size / 16) * 16)}",
            )


def _check_device(config: RunConfig) -> None:
    device, precision = config.plan.accelerator, config.training.compute.precision
    if device is not None and precision == "bf16" and not device.has_bf16:
        raise UserError(
            f"plan.device={config.plan.device} has no arithmetic for training.compute.precision=bf16",
            "Set training.compute.precision=fp16, or plan for another device.",
        )
    if device is not None and precision == "fp8" and not device.has_float8:
        raise UserError(
            f"plan.device={config.plan.device} does not multiply in float8 (training.compute.precision=fp8)",
            "Set training.compute.precision=bf16, or plan for another device.",
        )
    if device is not None and config.training.compute.device == "cpu":
        raise UserError(
            f"plan.device={config.plan.device} with training.compute.device=cpu: the ranks would not compute on it",
            "Leave one of the two out.",
        )


def _check_window_kernel(config: RunConfig) -> None:
    """`training.compute.attention=triton` is for layers with a plain causal window."""
    model, training = config.model, config.training
    if training.compute.attention != "triton":
        return
    hindrances = {
        "no layer of the model has a window (model.layer_types, model.sliding_window)":
            model.sliding_window is None or "sliding_attention" not in model.layers,
        f"training.mask.name={training.mask.name}": training.mask.name != "causal",
        f"model.position={model.position}": model.position == "alibi",
        f"model.attn_logit_softcapping={model.attn_logit_softcapping}": model.attn_logit_softcapping is not None,
        f"model.attention_dropout={model.attention_dropout:g}": model.attention_dropout > 0,
        f"training.parallel.context={training.parallel.context}": training.parallel.context > 1,
    }  # fmt: skip
    found = [words for words, is_so in hindrances.items() if is_so]
    if found:
        raise UserError(
            f"training.compute.attention=triton computes plain causal windows, and here is {'; '.join(found)}",
            "Set training.compute.attention=torch.",
        )


def _check_recomputation(config: RunConfig) -> None:
    """Autocast copies a weight once in a forward pass, and again when a layer that repeats it is computed again."""
    model, compute = config.model, config.training.compute
    is_shared = model.unique_layers < model.num_hidden_layers
    if is_shared and compute.recompute == "operations" and compute.precision != "fp32":
        raise UserError(
            f"training.compute.recompute=operations with model.num_unique_layers={model.num_unique_layers} and"
            f" training.compute.precision={compute.precision}: torch would miss operations when it repeats them",
            "Set training.compute.recompute=layers or none, or training.compute.precision=fp32.",
        )
