"""A checkpoint with more layers, each a copy of one that is there (`llm.config.derived.stages`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from llm.config.families import document
from llm.config.model_folder import CONFIG, read_config
from llm.model.foreign import WeightFiles, shapes_of, write_index

LAYERS = "model.layers."


def write_grown(source: Path, layers: Sequence[int], folder: Path) -> None:
    """Write the model in `source` into a folder, with copies of these layers; one layer at a time is in memory."""
    config, vocab_size = read_config(source)
    wanted = shapes_of(config, vocab_size)
    outer = {name: name for name in wanted if not name.startswith(LAYERS)}
    parts = [outer]
    for number, layer in enumerate(layers):
        own = f"{LAYERS}{layer}."
        parts.append({f"{LAYERS}{number}.{name.removeprefix(own)}": name for name in wanted if name.startswith(own)})
    weight_map: dict[str, str] = {}
    with WeightFiles(source) as files:
        for number, part in enumerate(parts, start=1):
            shard = f"model-{number:05}.safetensors"
            tensors: dict[str, Tensor] = {name: files.rows(old, 0, wanted[old][0]) for name, old in part.items()}
            save_file(tensors, folder / shard, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(part, shard)
    write_index(folder, weight_map)
    kinds = tuple(config.layers[layer] for layer in layers)
    grown = config.model_copy(update={"num_hidden_layers": len(layers), "layer_types": kinds})
    end_of_text = json.loads((source / CONFIG).read_text(encoding="utf-8")).get("eos_token_id")
    (folder / CONFIG).write_text(json.dumps(document(grown, vocab_size, end_of_text), indent=2) + "\n")
