"""The files of a checkpoint's weights, as `transformers` saves them: one, or shards that the ranks write by turns.

    model.safetensors                                    all weights of a model of up to SHARD_BYTES
    model-00001-of-00003.safetensors …                   those of a larger one: whole tensors, in the model's order
    model.safetensors.index.json                         the shard of each tensor

A rank gathers the tensors of its shards only, so that no memory holds a large model as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

from llm.config import ModelConfig
from llm.model.foreign import WEIGHTS, shapes_of, write_index
from llm.model.weights import names_of

SHARD_BYTES = 5 * 10**9
"""Bytes of a shard at most, unless one tensor alone has more; float32."""

Shards = Mapping[str, list[str]]
"""For each file the parameters in it."""


def shards_of(config: ModelConfig, vocab_size: int, at_most: int = SHARD_BYTES) -> Shards:
    """The files of this model's weights."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes_of(config, vocab_size).items():
        size = 4 * prod(shape) * len(names_of(name, config))
        if groups[-1] and filled + size > at_most:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {WEIGHTS: groups[0]}
    return {f"model-{number:05}-of-{len(groups):05}.safetensors": names for number, names in enumerate(groups, 1)}


def owners(shards: Shards, ranks: int) -> dict[str, int]:
    """The rank that writes each parameter."""
    return {name: number % ranks for number, names in enumerate(shards.values()) for name in names}


def write_index_of(shards: Shards, config: ModelConfig, vocab_size: int, folder: Path) -> None:
    """Write the document that says where each tensor is."""
    shapes = shapes_of(config, vocab_size)
    weight_map = {again: file for file, names in shards.items() for name in names for again in names_of(name, config)}
    size = sum(4 * prod(shapes[name]) * len(names_of(name, config)) for names in shards.values() for name in names)
    write_index(folder, weight_map, total_size=size)
