"""Tensor parallelism with sequence parallelism: the ranks of a group hold a part of each matrix of a layer.

Queries, keys, values, gate and up are cut by their outputs, the projections back into the stream by their inputs. What
lies between the layers is cut along the sequence. The vocabulary is cut in the embedding and in the head, and the loss
is computed without ever having all logits of a token on one rank. Sources: Shoeybi et al. 2019, arXiv:1909.08053;
Korthikanti et al. 2022, arXiv:2205.05198; `torch.distributed.tensor.parallel`.
"""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from llm.model import Decoder

SEQUENCE = 1
"""Dimension of positions in the stream, [B, T, D]; of heads in queries, [B, N, T, H]."""


def cut_matrices(model: Decoder, mesh: DeviceMesh) -> None:
    """Cut a model without memory over the ranks of a group."""
    for layer in model.model.layers:
        parallelize_module(layer, mesh, _layer_plan(model))
    outer: dict[str, ParallelStyle] = {"model.norm": SequenceParallel()}
    outer["model.embed_tokens"] = RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(SEQUENCE))
    if model.lm_head is not None:
        outer["lm_head"] = ColwiseParallel(use_local_output=False)
    parallelize_module(model, mesh, outer)


def _layer_plan(model: Decoder) -> dict[str, ParallelStyle]:
    config = model.config
    whole, cut = Replicate(), Shard(SEQUENCE)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if config.sandwich_norms:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    by_outputs = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"]
    by_outputs += ["mlp.gate_proj"] if config.gated_mlp else []
    plan: dict[str, ParallelStyle] = {name: SequenceParallel(use_local_output=True) for name in norms}
    plan |= {name: ColwiseParallel() for name in by_outputs}
    plan |= {name: RowwiseParallel(output_layouts=cut) for name in ("self_attn.o_proj", "mlp.down_proj")}
    inputs = (None, None, None)  # the view, the cache and the layer's number
    plan["self_attn"] = PrepareModuleInput(input_layouts=(cut, *inputs), desired_input_layouts=(whole, *inputs))
    plan["mlp"] = PrepareModuleInput(input_layouts=(cut,), desired_input_layouts=(whole,))
    if config.qk_norm:
        plan |= {f"self_attn.{name}_norm": SequenceParallel(sequence_dim=1, use_local_output=True) for name in "qk"}
    return plan
