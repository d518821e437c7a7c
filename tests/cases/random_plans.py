"""Random small plans, of which about half break a rule: settings of the model, the batch and the ranks."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from llm.training.estimate.fit import Settings

HEADS, KEYS = "model.num_attention_heads", "model.num_key_value_heads"
WINDOW, LAYERS = "model.sliding_window", "model.layer_types"
DEGREES = tuple(
    f"training.parallel.{name}"
    for name in ("processes", "tensor", "context", "pipeline", "stages_per_rank", "replicas")
)
FORMS = (
    (2, 1, 1, 1, 1, 1), (4, 2, 1, 1, 1, 1), (4, 1, 2, 1, 1, 1), (4, 1, 1, 2, 1, 1), (4, 1, 1, 1, 1, 2),
    (8, 2, 2, 1, 1, 1), (8, 2, 1, 2, 1, 1), (2, 1, 1, 2, 2, 1), (6, 3, 1, 1, 1, 1), (4, 3, 1, 1, 1, 1),
)  # fmt: skip
"""Ranks and their degrees; the last ones fit no model here, or no number of ranks."""
MIXED = ["sliding_attention", "full_attention"]
LLAMA_WITH_BIASES: Settings = {"model.attention_bias": "all", "model.mlp_bias": True}
QWEN_3: Settings = {"model.qk_norm": True, "model.head_dim": 16}
GEMMA_2: Settings = {
    "model.hidden_act": "gelu_pytorch_tanh", "model.scale_embeddings": True, "model.unit_offset_norms": True,
    "model.sandwich_norms": True, "model.attn_logit_softcapping": 30.0, "model.final_logit_softcapping": 30.0,
    WINDOW: 8, LAYERS: MIXED, "model.head_dim": 16, "model.query_pre_attn_scalar": 16,
}  # fmt: skip
DRAWN: list[list[Settings]] = [
    [{"model.hidden_size": size} for size in (48, 96)],
    [{"model.intermediate_size": size} for size in (48, 64, 50)],
    [{"model.num_hidden_layers": number} for number in (2, 2, 3, 4)],
    [{HEADS: heads, KEYS: keys} for heads, keys in ((4, 2), (4, 2), (4, 4), (4, 4), (6, 3), (4, 3))],
    [{}, {}, {}, {}, {"model.tie_word_embeddings": True}],
    [{}, LLAMA_WITH_BIASES, QWEN_3, GEMMA_2, {"model.position": "alibi"}],
    [{}, {}, {}, {}, {}, {WINDOW: 8, LAYERS: MIXED}, {WINDOW: 8, LAYERS: MIXED[:1]}, {WINDOW: 99, LAYERS: MIXED}],
    [{}, {}, {}, {}, {"model.num_unique_layers": 1}],
    [{}, {"model.residual_dropout": 0.1}],
    [{}, {}, {"model.attention_dropout": 0.1}],
    [{"tokenizer.vocab_size": size} for size in (258, 301)],
    [{"training.batch.sequence_length": length} for length in (16, 16, 8)],
    [{"training.batch.tokens": tokens} for tokens in (32, 64, 64)],
    [{"training.batch.micro_batch_size": number} for number in (1, 1, 2)],
    [{"training.compute.precision": precision} for precision in ("fp32", "bf16", "bf16", "fp16")],
    [{"training.compute.recompute": how} for how in ("none", "layers", "operations")],
    [{"training.compute.recompute_every": number} for number in (1, 2)],
    [{"training.optimizer": {"name": name}} for name in ("adamw", "adamw", "adamw8bit", "muon")],
    [{}, {}, {}, {}, {"training.optimizer.layer_decay": 0.9}],
    [{}, {}, {"training.loss.slice_tokens": 8}, {"training.loss.z_loss": 1e-4, "training.loss.label_smoothing": 0.1}],
    [{"training.mask": mask} for mask in ({"name": "causal"}, {"name": "causal"}, {"name": "documents"},
                                          {"name": "prefix", "tokens": 4}, {"name": "block_sparse"})],
    [dict(zip(DEGREES, form, strict=True)) for form in FORMS],
    [{"training.parallel.backend": {"name": "fsdp", "reshard_after_forward": whole}} for whole in (True, False)],
]  # fmt: skip
"""One of each line is drawn; one that stands twice is drawn more often."""
FIXED = (
    "model.max_position_embeddings=32", "training.batch.sequence_length=16", "model.head_dim=16",
    "model.tie_word_embeddings=false", "training.optimizer.name=adamw", "training.parallel.backend.name=fsdp",
    "export.onnx=[fp32]",
)  # fmt: skip


def drawn(seed: int) -> Settings:
    """A plan that follows from a seed, so that neighbours have nothing in common."""
    draw = random.Random(seed)
    return {key: value for choices in DRAWN for key, value in draw.choice(choices).items()}


plans = st.integers(0, 2**32 - 1).map(drawn)
