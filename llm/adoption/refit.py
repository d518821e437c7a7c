"""A checkpoint with rows for another vocabulary: its files, and a new one for the embedding and the head."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from llm.adoption.vocabulary import RowPlan
from llm.config.model_folder import CONFIG, read_config
from llm.model.foreign import WeightFiles, files_of, shapes_of, write_index

VOCABULARY = "vocabulary.safetensors"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def write_refitted(source: Path, plan: RowPlan, folder: Path) -> None:
    """Write the model in `source` into a folder, with the rows of the plan; only these are in memory as a whole."""
    config, old_size = read_config(source)
    shards: dict[str, str] = {}
    with WeightFiles(source) as files:
        for number, (path, inside) in enumerate(sorted(files_of(source).items()), start=1):
            shard = f"model-{number:05}.safetensors"
            shutil.copyfile(path, folder / shard)
            shards |= dict.fromkeys(files.shapes() if inside is None else inside, shard)
        wanted = shapes_of(config, old_size)
        rows = {name: new_rows(files, name, plan) for name in (EMBEDDING, HEAD) if name in wanted}
    save_file(rows, folder / VOCABULARY, metadata={"format": "pt"})
    weight_map = {name: VOCABULARY if name in rows else shards[name] for name in wanted}
    write_index(folder, weight_map)
    document = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    document["vocab_size"] = len(plan.sources)
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n")


def new_rows(files: WeightFiles, name: str, plan: RowPlan) -> Tensor:
    """A matrix with a row for each entry of the new vocabulary, float32; the old one is read block by block."""
    pairs = [(row, source, 1 / len(parts)) for row, parts in enumerate(plan.sources) for source in parts]
    rows, sources = (torch.tensor([pair[part] for pair in pairs], dtype=torch.long) for part in (0, 1))
    shares = torch.tensor([pair[2] for pair in pairs], dtype=torch.float32)
    old_size, width = files.shapes()[name]
    found, total = torch.zeros(len(plan.sources), width), torch.zeros(width, dtype=torch.float64)
    for first, block in files.blocks(name):
        total += block.double().sum(0)
        here = (sources >= first) & (sources < first + len(block))
        found.index_add_(0, rows[here], block[sources[here] - first] * shares[here, None])
    of_all = torch.tensor([not parts for parts in plan.sources])
    found[of_all] = (total / old_size).float()
    return found
