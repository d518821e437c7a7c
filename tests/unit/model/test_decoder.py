"""The decoder is Hugging Face's Llama, number by number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from llm.config import ModelConfig, compose
from llm.errors import DamagedError, UserError
from llm.model import Decoder, KeyValueCache, count_parameters, flops_per_token, initialise
from llm.model.attention import grouped_attention, reference_attention
from llm.model.weights import load, save

TINY = ModelConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, max_position_embeddings=32)  # fmt: skip
UNTIED = TINY.model_copy(update={"tie_word_embeddings": False, "num_key_value_heads": 4})
VOCABULARY = 50


def tiny(config: ModelConfig = TINY, seed: int = 0) -> Decoder:
    model = Decoder(config, VOCABULARY).eval()
    initialise(model, seed)
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("config", [TINY, UNTIED], ids=["tied, grouped", "untied, every head its own"])
def test_logits_equal_those_of_transformers(config: ModelConfig, ids: torch.Tensor, tmp_path: Path):
    model = tiny(config)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough that a wrong norm or rotation shows
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.2)
    save(model, tmp_path)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(model(ids), peer(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_saved_model_is_loaded_with_the_same_logits(ids: torch.Tensor, tmp_path: Path):
    model = tiny()
    save(model, tmp_path)
    assert torch.equal(load(tmp_path)(ids), model(ids))


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path):
    save(tiny(), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 96', '"intermediate_size": 100'))
    with pytest.raises(DamagedError, match="do not fit their config"):
        load(tmp_path)


@pytest.mark.parametrize("chunks", [[20], [1] * 20, [7, 1, 12], [19, 1]])
def test_a_cache_changes_nothing(ids: torch.Tensor, chunks: list[int]):
    model, cache = tiny(), KeyValueCache(TINY.num_hidden_layers)
    with torch.no_grad():
        pieces = [model(piece, cache) for piece in ids.split(chunks, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids))


def test_a_position_does_not_see_what_comes_after_it(ids: torch.Tensor):
    model = tiny()
    changed = ids.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % VOCABULARY
    with torch.no_grad():
        torch.testing.assert_close(model(ids)[:, :10], model(changed)[:, :10])
        assert not torch.allclose(model(ids)[:, 10:], model(changed)[:, 10:])


@pytest.mark.parametrize(("queries", "keys"), [(8, 8), (1, 8), (3, 8)])
def test_the_fused_attention_equals_the_reference(queries: int, keys: int):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, length, 16, generator=generator)
               for heads, length in ((4, queries), (2, keys), (2, keys)))  # fmt: skip
    torch.testing.assert_close(grouped_attention(q, k, v), reference_attention(q, k, v))


def test_a_text_longer_than_the_context_is_refused():
    with pytest.raises(UserError, match="33 tokens do not fit the model's context of 32"):
        tiny()(torch.zeros(1, 33, dtype=torch.long))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, same, other = tiny(seed=1).state_dict(), tiny(seed=1).state_dict(), tiny(seed=2).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize("config", [TINY, UNTIED], ids=["tied", "untied"])
def test_parameters_are_counted_without_building(config: ModelConfig):
    assert count_parameters(config, VOCABULARY) == sum(p.numel() for p in tiny(config).parameters())


@pytest.mark.parametrize("config", [TINY, UNTIED], ids=["tied", "untied"])
def test_flops_are_those_that_torch_counts(config: ModelConfig, ids: torch.Tensor):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny(config)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(ids).sum().backward()
    expected = flops_per_token(config, VOCABULARY, ids.shape[1]) * ids.numel()
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_weight_names_are_hugging_face_names():
    assert sorted(name for name in tiny(UNTIED).state_dict() if ".layers.1" not in name) == [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
        "model.norm.weight",
    ]


@pytest.mark.parametrize(
    ("name", "vocabulary", "parameters"),
    [
        ("tiny", 4096, 4_000_000),
        ("small", 4096, 25_698_816),
        ("110m", 32_768, 110_119_680),
        ("500m", 32_768, 506_333_440),
        ("1.3b", 32_768, 1_300_334_592),
        ("1b", 128_256, 1_235_814_400),  # as published: huggingface.co/meta-llama/Llama-3.2-1B
        ("7b", 32_000, 6_738_415_616),  # huggingface.co/meta-llama/Llama-2-7b-hf
        ("70b", 32_000, 68_976_648_192),  # huggingface.co/meta-llama/Llama-2-70b-hf
    ],
)
def test_a_named_model_has_its_parameters(name: str, vocabulary: int, parameters: int):
    config = compose([f"model={name}", f"tokenizer.vocab_size={vocabulary}"]).model
    assert count_parameters(config, vocabulary) == parameters
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Decoder(config, vocabulary).parameters()) == parameters
