"""Weights on disk: a folder that `transformers` loads as it is, where it has a class for the model.

`model.safetensors` holds float32 tensors under Hugging Face's names, `config.json` the config of the model's family
(`llm.config.families`). Layers that share weights are written once each.
Law: `load(folder)` after `save(model, folder)` gives a model with the same logits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from llm.config import ModelConfig
from llm.config.families import document
from llm.config.model_folder import CONFIG, read_config
from llm.model.decoder import Decoder
from llm.model.foreign import WEIGHTS, WeightFiles


def save(model: Decoder, folder: Path, end_of_text: int | None = None) -> None:
    """Write a model's weights and config into a folder."""
    save_some(model.state_dict(), model.config, folder / WEIGHTS)
    save_config(model.config, model.vocab_size, folder, end_of_text)


def save_some(state: Mapping[str, Tensor], config: ModelConfig, path: Path) -> None:
    """Write some or all of a model's weights, which may be in no model now (gathered from ranks, say), into a file."""
    whole = {name: tensor.detach().float().contiguous().cpu() for name, tensor in sorted(state.items())}
    tensors = {
        again: tensor if again == name else tensor.clone()
        for name, tensor in whole.items()
        for again in names_of(name, config)
    }
    save_file(tensors, path, metadata={"format": "pt"})


def save_config(config: ModelConfig, vocab_size: int, folder: Path, end_of_text: int | None = None) -> None:
    """Write the model's config as its family has it."""
    (folder / CONFIG).write_text(json.dumps(document(config, vocab_size, end_of_text), indent=2) + "\n")


def load(folder: Path) -> Decoder:
    """The model in a folder, in evaluation mode; it may be one that others saved (`llm.model.foreign`).

    Raises UserError if the config is not understood, or the weights do not fit it or are not finite.
    """
    config, vocab_size = read_config(folder)
    with WeightFiles(folder) as files:
        files.check_fit(config, vocab_size)
        with torch.device("meta"):
            model = Decoder(config, vocab_size)
        model.to_empty(device="cpu")
        model.make_tables()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                for first, block in files.blocks(name):
                    parameter[first : first + len(block)] = block
    return model.eval()


def names_of(name: str, config: ModelConfig) -> list[str]:
    """The names under which a parameter is written: its own, and those of the layers that repeat its layer."""
    if config.unique_layers == config.num_hidden_layers or not name.startswith("model.layers."):
        return [name]
    number, rest = name.removeprefix("model.layers.").split(".", 1)
    layers = range(int(number), config.num_hidden_layers, config.unique_layers)
    return [f"model.layers.{layer}.{rest}" for layer in layers]
