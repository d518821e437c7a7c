"""Weights as others save them: in shards, in half precision, and everything that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from llm.config.families import FAMILIES
from llm.errors import UserError
from llm.model import foreign
from llm.model.foreign import INDEX, WEIGHTS, WeightFiles
from llm.model.weights import load
from tests.cases.foreign import llama, model_of

IDS = torch.randint(0, 99, (2, 40), generator=torch.Generator().manual_seed(0))


def logits_agree(folder: Path) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        expected, found = theirs(IDS).logits, load(folder)(IDS)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_shards_in_half_precision_give_the_logits_of_transformers(family: Any, dtype: torch.dtype, tmp_path: Path):
    change = {} if family.model_type == "qwen2" else {"head_dim": 16}
    model = model_of(family.architecture, family.model_type, 99, **change).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / INDEX).is_file()
    logits_agree(tmp_path)
    assert all(parameter.dtype == torch.float32 for parameter in load(tmp_path).parameters())


def test_a_tied_model_may_store_its_head_too(tmp_path: Path):
    llama(tmp_path, 99, shard="1GB")
    weights = load_file(tmp_path / WEIGHTS)
    assert "lm_head.weight" not in weights
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / WEIGHTS, {"format": "pt"})
    logits_agree(tmp_path)


def test_frequencies_that_earlier_versions_saved_are_passed_over(tmp_path: Path):
    llama(tmp_path, 99, shard="1GB")
    weights = load_file(tmp_path / WEIGHTS)
    save_file(weights | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}, tmp_path / WEIGHTS)
    load(tmp_path)


def test_a_large_tensor_is_read_in_blocks_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = llama(tmp_path, 99)
    asked: list[int] = []
    rows = WeightFiles.rows

    def counted(self: WeightFiles, name: str, first: int, end: int) -> torch.Tensor:
        asked.append((end - first) * (64 if name.endswith("embed_tokens.weight") else 1))
        return rows(self, name, first, end)

    monkeypatch.setattr(foreign, "BLOCK_NUMBERS", 10 * 64)
    monkeypatch.setattr(WeightFiles, "rows", counted)
    found = load(tmp_path)
    assert max(asked) <= 10 * 64
    assert torch.equal(found.model.embed_tokens.weight, model.model.embed_tokens.weight.float())


def test_rows_are_those_of_the_whole_tensor(tmp_path: Path):
    model = llama(tmp_path, 99)
    with WeightFiles(tmp_path) as files:
        found = files.rows("model.embed_tokens.weight", 5, 9)
    assert torch.equal(found, model.model.embed_tokens.weight[5:9].float())


def changed(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def work(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)

    return work


def poke(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def work(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value

    return work


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def config(**change: Any) -> Callable[[Path], object]:
    def work(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    return work


UP, NORM = "model.layers.1.mlp.up_proj.weight", "model.layers.0.input_layernorm.weight"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a name is missing": (changed(lambda weights: weights.__delitem__(NORM)), f"{NORM} is missing"),
    "a name too many": (
        changed(lambda weights: weights.update({"model.extra": torch.ones(1)})), "model.extra is not part",
    ),
    "another shape": (
        changed(lambda weights: weights.update({UP: torch.ones(81, 64)})),
        rf"{UP} has the shape \[81, 64\], and the config \[80, 64\]",
    ),
    "integers": (
        changed(lambda weights: weights.update({UP: torch.ones(80, 64, dtype=torch.int8)})),
        f"{UP} has values of type I8",
    ),
    "not a number": (changed(poke(float("nan"))), f"{UP} in .* holds values that are not finite"),
    "infinite": (changed(poke(float("-inf"))), f"{UP} in .* holds values that are not finite"),
    "cut short": (cut, "cannot be read as safetensors"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "there are no weights in"),
    "pickles": (
        lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"),
        r"are pickles \(pytorch_model.bin\)(.|\n)*save_pretrained",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "there is no config.json in"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "an unknown key": (config(attention_multiplier=2.0), "attention_multiplier=2.0 is not understood"),
    "an unknown value": (config(hidden_act="relu"), "hidden_act='relu' is not understood"),
    "a family that is not known": (config(model_type="phi3"), "model_type=phi3 is not known"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_make_another_model_is_refused(case: str, tmp_path: Path):
    llama(tmp_path, 99, shard="1GB")
    change, what = REFUSED[case]
    change(tmp_path)
    with pytest.raises(UserError, match=what):
        load(tmp_path)


def test_a_config_without_a_size_is_refused(tmp_path: Path):
    llama(tmp_path, 99)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text())
    del document["vocab_size"]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="has no key 'vocab_size'"):
        load(tmp_path)


def test_a_missing_shard_is_refused_by_name(tmp_path: Path):
    llama(tmp_path, 99)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"lacks {shard.name}"):
        load(tmp_path)


def test_an_index_that_names_what_a_shard_has_not_is_refused(tmp_path: Path):
    llama(tmp_path, 99)
    index = json.loads((tmp_path / INDEX).read_text())
    shards = sorted(set(index["weight_map"].values()))
    moved = next(name for name, shard in index["weight_map"].items() if shard == shards[0])
    index["weight_map"][moved] = shards[1]
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match=f"{shards[1]} has no tensor {moved}"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../model.safetensors"}}'])
def test_a_broken_index_is_refused(content: str, tmp_path: Path):
    llama(tmp_path, 99)
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(UserError, match=r"is not an index of weights|lacks ../model.safetensors"):
        load(tmp_path)
