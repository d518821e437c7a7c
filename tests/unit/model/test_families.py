"""Each family of models against the class of transformers that computes it, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from llm.config import ModelConfig
from llm.config.families import FAMILIES, Family, family_of, read
from llm.config.model_folder import read_config
from llm.errors import UserError
from llm.model import Decoder, KeyValueCache, initialise
from llm.model.weights import load, save

SMALL: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 96,
}  # fmt: skip
GEMMA = {"hidden_act": "gelu_pytorch_tanh", "scale_embeddings": True, "unit_offset_norms": True}
WINDOW = {"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]}
OURS: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": "all", "mlp_bias": True, "head_dim": 16},
    "llama, exact gelu": {"hidden_act": "gelu", "tie_word_embeddings": False},
    "llama, llama3 scaling": {
        "rope_scaling": {"type": "llama3", "factor": 8, "original_max_position_embeddings": 24, "low_freq_factor": 1,
                         "high_freq_factor": 4}},
    "llama, linear scaling": {"rope_scaling": {"type": "linear", "factor": 3.5}},
    "llama, yarn": {"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 24}},
    "llama, yarn, its factor": {
        "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 24, "attention_factor": 1.3,
                         "beta_fast": 20, "beta_slow": 2, "truncate": False}},
    "llama, ntk": {"rope_scaling": {"type": "ntk", "factor": 4}},
    "llama, layers that share": {"num_unique_layers": 2, "residual_dropout": 0.1},
    "mistral": {"sliding_window": 7, "layer_types": ["sliding_attention"], "head_dim": 20},
    "qwen2": {"attention_bias": "qkv", **WINDOW},
    "qwen3": {"qk_norm": True, "head_dim": 32, **WINDOW},
    "gemma": {**GEMMA, "head_dim": 16},
    "gemma2": {**GEMMA, **WINDOW, "sandwich_norms": True, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 5.0,
               "final_logit_softcapping": 3.0},
    "gemma3_text": {**GEMMA, **WINDOW, "sandwich_norms": True, "qk_norm": True, "query_pre_attn_scalar": 20,
                    "rope_theta": 1e6, "rope_theta_sliding": 1e4},
}  # fmt: skip
HAVE_NO_CLASS: dict[str, dict[str, Any]] = {
    "alibi": {"position": "alibi"},
    "alibi in windows": {"position": "alibi", **WINDOW},
    "LayerNorm, no gate": {"norm": "layer", "gated_mlp": False, "hidden_act": "gelu", "mlp_bias": True,
                           "attention_bias": "all"},
    "sandwich": {"sandwich_norms": True},
    "one layer, ten times": {"position": "alibi", "num_unique_layers": 1, "num_hidden_layers": 10},
}  # fmt: skip


@pytest.fixture(scope="module")
def ids() -> Tensor:
    return torch.randint(0, 99, (2, 60), generator=torch.Generator().manual_seed(0))


def wild(config: ModelConfig) -> Decoder:
    """Weights so large that logits differ clearly, norms that are not one and biases that are not zero."""
    model = Decoder(config, 99)
    initialise(model, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * 0.1
    return model.eval()


@pytest.mark.parametrize("name", OURS)
def test_our_model_and_the_class_of_transformers_agree(name: str, ids: Tensor, tmp_path: Path):
    config = ModelConfig.model_validate({**SMALL, **OURS[name]})
    family = family_of(config)
    assert family is not None
    assert family.model_type == name.split(",")[0]
    ours = wild(config)
    save(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.inference_mode():
        expected, found = theirs(ids).logits, ours(ids)
        again = load(tmp_path)(ids)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(again, found)


@pytest.mark.parametrize("name", [*OURS, *HAVE_NO_CLASS])
def test_a_model_read_from_its_folder_and_one_with_a_cache_are_the_same(name: str, ids: Tensor, tmp_path: Path):
    config = ModelConfig.model_validate({**SMALL, **(OURS | HAVE_NO_CLASS)[name]})
    model = wild(config)
    save(model, tmp_path)
    cache = KeyValueCache(config.num_hidden_layers)
    with torch.inference_mode():
        whole = model(ids)
        assert torch.equal(load(tmp_path)(ids), whole)
        parts = [model(part, cache) for part in ids.split([11, 1, 1, 30, 17], dim=1)]
    assert (torch.cat(parts, dim=1) - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize("name", HAVE_NO_CLASS)
def test_other_models_have_no_class(name: str):
    assert family_of(ModelConfig.model_validate({**SMALL, **HAVE_NO_CLASS[name]})) is None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_what_transformers_saves_is_read(family: Any, ids: Tensor, tmp_path: Path):
    """Its own defaults, at a small size; a random model gives the same logits."""
    sizes = {**SMALL, "vocab_size": 99, "head_dim": 12, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    if family.model_type == "qwen2":
        del sizes["head_dim"]
    theirs = getattr(transformers, family.architecture)._from_config(
        transformers.AutoConfig.for_model(family.model_type, **sizes), attn_implementation="eager"
    )
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path)
    with torch.inference_mode():
        expected, found = theirs.eval()(ids).logits, ours(ids)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_type": "phi3"}, "model_type=phi3 is not known"),
        ({"attention_multiplier": 2.0}, "attention_multiplier=2.0 is not understood"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2}}, "longrope"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "dynamic"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "new": 1}}, "new"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"sliding_window": 8}, "sliding_window=8"),
        ({"pretraining_tp": 2}, "pretraining_tp=2"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(change: dict[str, Any], what: str):
    document = {**SMALL, "model_type": "llama", "vocab_size": 99, **change}
    with pytest.raises(UserError, match=what):
        read(document, "folder/config.json")


def test_rotary_settings_of_earlier_versions_are_read():
    older = {**SMALL, "model_type": "llama", "vocab_size": 99, "rope_theta": 5e5,
             "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                              "original_max_position_embeddings": 8192}}  # fmt: skip
    config, _ = read(older, "config.json")
    assert config.rope_theta == 5e5
    assert config.rope_scaling is not None
    assert config.rope_scaling.type == "llama3"


def test_a_llama_is_written_as_it_always_was(tmp_path: Path):
    model = Decoder(ModelConfig(), 99)
    save(model, tmp_path, end_of_text=3)
    assert list(json.loads((tmp_path / "config.json").read_text())) == [
        "architectures", "model_type", "hidden_act", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rope_theta", "rms_norm_eps",
        "initializer_range", "tie_word_embeddings", "head_dim", "vocab_size", "attention_bias", "mlp_bias",
        "bos_token_id", "eos_token_id", "torch_dtype",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [*OURS, *HAVE_NO_CLASS])
def test_parameters_are_counted(name: str):
    from llm.model.size import count_parameters

    config = ModelConfig.model_validate({**SMALL, **(OURS | HAVE_NO_CLASS)[name]})
    with torch.device("meta"):
        model = Decoder(config, 99)
    assert count_parameters(config, 99) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_a_key_that_lacks_is_what_the_class_takes(family: Family):
    sizes = {**SMALL, "num_hidden_layers": 2, "head_dim": 16, "vocab_size": 99}
    whole = transformers.AutoConfig.for_model(family.model_type, **sizes).to_diff_dict()
    whole = json.loads(json.dumps({**whole, "model_type": family.model_type}))
    expected, _ = read(whole, "whole")
    for name in ("rms_norm_eps", "tie_word_embeddings", *family.missing.keys() - {"head_dim"}):
        found, _ = read({key: value for key, value in whole.items() if key != name}, "part")
        assert found == expected, name
    for name in sizes.keys() - {"num_key_value_heads", "head_dim", "vocab_size"}:
        with pytest.raises(UserError, match=f"has no key {name}"):
            read({key: value for key, value in whole.items() if key != name}, "part")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"original_max_position_embeddings": 96, "attention_factor": None}),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, {"attention_factor": 1.0}),
        ({"mscale": 1.0}, {"attention_factor": None}),
        ({"mscale": 0.7, "mscale_all_dim": 0.7, "attention_factor": 1.2}, {"attention_factor": 1.2}),
    ],
)
def test_yarn_takes_what_the_class_takes(given: dict[str, Any], wanted: dict[str, Any]):
    document = {**SMALL, "model_type": "llama", "vocab_size": 99}
    scaling = read({**document, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, **given}}, "it")[0].rope_scaling
    assert scaling is not None
    assert {name: getattr(scaling, name) for name in wanted} == wanted


def test_yarn_of_two_scales_is_refused():
    scaling = {"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.8}
    with pytest.raises(UserError, match="mscale"):
        read({**SMALL, "model_type": "llama", "vocab_size": 99, "rope_scaling": scaling}, "it")


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocab_size": None},
        {"vocab_size": "many"},
        {"vocab_size": -5},
        {"rope_scaling": "linear"},
        {"rope_parameters": {"full_attention": 5}},
        {"hidden_act": ["silu"]},
        {"model_type": "qwen2", "sliding_window": 4, "layer_types": 5},
        {"model_type": "gemma2", "sliding_window": 4, "sliding_window_pattern": 0},
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_the_mistake_of_the_file(tmp_path: Path, wrong: dict[str, Any]):
    document = {**SMALL, "model_type": "llama", "vocab_size": 99, **wrong}
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)
