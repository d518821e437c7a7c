"""Folders that others made: a tiny model as `transformers` saves it, and a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from llm.config import ModelConfig
from llm.tokenizer.bpe import GigatokenTrainer
from llm.tokenizer.train import write_files

SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 96,
}  # fmt: skip
MODEL = ModelConfig.model_validate({**SIZES, "rms_norm_eps": 1e-6})
"""The configuration of `llama`."""
TEXTS = [
    "the mill grinds the grain, and the grain is ground in the mill",
    "grist for the mill: grain, grain, grain",
] * 3


def model_of(architecture: str, model_type: str, vocab_size: int, **change: Any) -> Any:
    """A random model of a class of `transformers`, with weights that are no round numbers."""
    torch.manual_seed(3)
    sizes = {**SIZES, "vocab_size": vocab_size, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2, **change}
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    model = getattr(transformers, architecture)._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape) * 0.1
    return model.eval()


def llama(folder: Path, vocab_size: int, *, dtype: torch.dtype = torch.bfloat16, shard: str = "40KB") -> Any:
    """Save a tiny Llama into a folder, in shards and in half precision; returns it."""
    model = model_of("LlamaForCausalLM", "llama", vocab_size, tie_word_embeddings=True).to(dtype)
    model.save_pretrained(folder, max_shard_size=shard)
    return model


def tokenizer(folder: Path, entries: int, texts: list[str] = TEXTS) -> int:
    """Write a tokenizer of at most so many entries into a folder; returns how many it has."""
    folder.mkdir(parents=True, exist_ok=True)
    document = GigatokenTrainer().train(texts, entries)
    write_files(document, folder)
    parsed = json.loads(document)
    return len(parsed["model"]["vocab"]) + 1
