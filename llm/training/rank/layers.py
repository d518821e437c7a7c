"""The layers of a model, wrapped from outside: activations computed again, and compilation.

A layer's own `forward` is replaced, so that parameters keep their names, and a backend that cuts the layer into shards
does so around it. Source: Chen et al. 2016, arXiv:1604.06174 (recomputation); `torch.utils.checkpoint` (selective).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from llm.config.sections.training import WINDOW_KERNEL, ComputeConfig
from llm.errors import UserError
from llm.model import Decoder

aten: Any = torch.ops.aten
COSTLY = frozenset({
    aten.mm.default, aten.bmm.default, aten.addmm.default, aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default, aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
})  # fmt: skip
"""Operations whose results are kept: matrix products and attention. What lies between them is cheap to do again."""


def use_window_kernel(model: Decoder, kind: str) -> None:
    """Let our kernel compute the attention of sliding layers, on this kind of device; raises UserError if it cannot."""
    try:
        kernel = import_module(WINDOW_KERNEL)
    except ImportError as error:
        raise UserError(
            f"training.compute.attention=triton needs the package triton: {error}",
            "torch's build for CUDA brings it. Without a GPU set training.compute.attention=torch.",
        ) from error
    if kind == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(
            "training.compute.attention=triton needs a GPU, and these ranks are on processors",
            "Set training.compute.attention=torch. With TRITON_INTERPRET=1 in the environment it runs here, slowly.",
        )
    model.window_kernel = kernel.sliding_window_attention


def prepare(layers: Iterable[nn.Module], compute: ComputeConfig) -> None:
    """Let each layer recompute and be compiled as the configuration says."""
    for number, layer in enumerate(layers):
        if compute.recompute != "none" and number % compute.recompute_every == 0:
            contexts: dict[str, Any] = {} if compute.recompute == "layers" else {"context_fn": _keeping_costly}
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, **contexts)
        if compute.compile:
            layer.compile()


def _keeping_costly() -> Any:
    make: Any = create_selective_checkpoint_contexts
    return make(_policy)


def _policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    is_costly = operation in COSTLY or operation.namespace == "gristmill"  # our own kernels
    return CheckpointPolicy.MUST_SAVE if is_costly else CheckpointPolicy.PREFER_RECOMPUTE
