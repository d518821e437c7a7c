"""Models that cannot be built, and models that cannot be exported, are refused by name."""

from __future__ import annotations

import pytest

from llm.config import compose
from llm.config.families import family_of
from llm.errors import UserError

WINDOWED = ["model.layer_types=[sliding_attention]", "model.sliding_window=128", "training.compute.attention=triton"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["model.sliding_window=8"], "sliding_window=8, and no layer slides"),
        (["model.layer_types=[sliding_attention]"], "model.sliding_window is null"),
        (["model.layer_types=[sliding_attention]", "model.sliding_window=100000"], "longer than the context"),
        (["model.layer_types=[]"], "names 0 layers"),
        (["model.num_unique_layers=3"], "num_unique_layers=3 does not divide"),
        (["model.unit_offset_norms=true", "model.norm=layer"], "unit_offset_norms"),
        (["model.position=alibi", "model.rope_scaling={type: ntk, factor: 2}"], "alibi turns nothing"),
        (["model.rope_scaling={type: llama3, factor: 2, low_freq_factor: 4}"], "high_freq_factor must be above"),
        (
            ["model.num_unique_layers=1", "training.compute.recompute=operations", "training.compute.precision=bf16"],
            "recompute=operations with model.num_unique_layers=1",
        ),
        (["model.head_dim=15"], "a head of 15 is odd"),
        (["model.position=alibi"], r"no class of transformers .*model\.position"),
        (["model.gated_mlp=false", "model.norm=layer"], r"model\.norm, model\.gated_mlp"),
        (["model.qk_norm=true", "export.tensorrt=fp16"], "for a plain Llama"),
        (["training.compute.attention=triton"], "no layer of the model has a window"),
        ([*WINDOWED, "training.mask.name=documents"], r"training\.mask\.name=documents"),
        ([*WINDOWED, "model.attn_logit_softcapping=30"], r"model\.attn_logit_softcapping=30"),
        ([*WINDOWED, "model.attention_dropout=0.1"], r"model\.attention_dropout=0.1"),
    ],
)
def test_it_is_refused_by_name(settings: list[str], words: str):
    with pytest.raises(UserError, match=words):
        compose(tuple(settings))


@pytest.mark.parametrize(
    "settings",
    [
        ["model.qk_norm=true", "model.head_dim=64"],
        ["model.layer_types=[sliding_attention]", "model.sliding_window=128"],
        [
            "model.layer_types=[sliding_attention,full_attention]",
            "model.sliding_window=128",
            "model.attention_bias=qkv",
        ],
        ["model.rope_scaling={type: yarn, factor: 4}"],
        ["model.num_unique_layers=1", "model.residual_dropout=0.1"],
    ],
)
def test_what_transformers_computes_is_taken(settings: list[str]):
    assert family_of(compose(tuple(settings)).model) is not None
