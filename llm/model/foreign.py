"""Weights of a folder as others save it: one file or many, float32 or half precision, read row by row.

    model.safetensors                                  all tensors in one file, or
    model.safetensors.index.json, model-00001-of-…     the file of each tensor, and these files (shards)

A tensor is read in blocks of rows, and a block becomes float32 by itself. So a model that is filled from a folder is in
memory once, and a rank that needs some rows reads only these. All that could make another model of it is refused: a
shard that is missing, a name or a shape that does not fit, a value that is no number. Pickles are never opened, since
reading one can run any program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm.config import ModelConfig
from llm.errors import DamagedError, UserError
from llm.model.decoder import Decoder

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.bin.index.json")
READ = {"F64", "F32", "F16", "BF16"}
"""Types of values that become float32."""
BLOCK_NUMBERS = 1 << 24
"""Numbers that are read at once."""
Shape = tuple[int, ...]


class WeightFiles:
    """The tensors of a folder by name, opened and not yet read."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError if there are no weights that can be read, or a shard is missing."""
        self.folder = folder
        self._opened = ExitStack()
        self._tensors: dict[str, Any] = {}
        try:
            for path, names in files_of(folder).items():
                self._open(path, names)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, names: list[str] | None) -> None:
        try:
            file = self._opened.enter_context(safe_open(path, framework="pt"))
            inside = set(file.keys())
            for name in sorted(inside) if names is None else names:
                if name not in inside:
                    raise DamagedError(f"{path} has no tensor {name}, and {INDEX} says so", "Get the folder again.")
                self._tensors[name] = file.get_slice(name)
        except (SafetensorError, OSError) as error:
            raise DamagedError(f"{path} cannot be read as safetensors: {error}", "Get the file again.") from error

    def __enter__(self) -> Self:
        """Close the files at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files; nothing can be read afterwards."""
        self._tensors.clear()
        self._opened.close()

    def shapes(self) -> dict[str, Shape]:
        """Shape of each tensor, by name."""
        return {name: tuple(tensor.get_shape()) for name, tensor in self._tensors.items()}

    def rows(self, name: str, first: int, end: int) -> Tensor:
        """Some rows of a tensor, float32; raises DamagedError if one of the values is not finite."""
        found: Tensor = self._tensors[name][first:end].float()
        if not torch.isfinite(found).all():
            raise DamagedError(
                f"{name} in {self.folder} holds values that are not finite (NaN or infinite)",
                "A model with such weights answers nothing. Get the folder again, or another version of it.",
            )
        return found

    def blocks(self, name: str, first: int = 0, end: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """The rows of a tensor from `first` to `end`, a block at a time, each with the number of its first row."""
        shape = self.shapes()[name]
        end = shape[0] if end is None else end
        step = max(1, BLOCK_NUMBERS // max(1, torch.Size(shape[1:]).numel()))
        for begin in range(first, end, step):
            yield begin, self.rows(name, begin, min(begin + step, end))

    def check_fit(self, config: ModelConfig, vocab_size: int) -> None:
        """Raise DamagedError, naming the first tensor, unless names, shapes and types are those of the model."""
        wanted, found = shapes_of(config, vocab_size), self.shapes()
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                raise self._misfit(f"{name} is missing")
            if name not in wanted:
                if not is_without_effect(name, config):
                    raise self._misfit(f"{name} is not part of this model")
                continue
            if found[name] != wanted[name]:
                raise self._misfit(f"{name} has the shape {list(found[name])}, and the config {list(wanted[name])}")
            if (kind := self._tensors[name].get_dtype()) not in READ:
                raise self._misfit(f"{name} has values of type {kind}; {', '.join(sorted(READ))} can be read")

    def check_values(self, config: ModelConfig, vocab_size: int) -> None:
        """Read everything once; raises DamagedError naming the first tensor with a value that is not finite."""
        for name in shapes_of(config, vocab_size):
            for _ in self.blocks(name):
                pass

    def _misfit(self, how: str) -> DamagedError:
        return DamagedError(
            f"the weights in {self.folder} do not fit their config: {how}",
            "The folder must hold the config.json and the weights of one model.",
        )


def files_of(folder: Path) -> dict[Path, list[str] | None]:
    """Files with weights, and the tensors of each; None: all that it has.

    Raises UserError if there are none, or only pickles, or if a shard is missing.
    """
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: None}
    if (folder / INDEX).is_file():
        found: dict[Path, list[str] | None] = {}
        for shard, names in _shards(folder / INDEX).items():
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise DamagedError(
                    f"{folder} lacks {shard}, which {INDEX} names", "Get the folder again, with all its shards."
                )
            found[folder / shard] = names
        return found
    if pickles := sorted(path.name for pattern in PICKLES for path in folder.glob(pattern)):
        raise UserError(
            f"the weights in {folder} are pickles ({pickles[0]}), and reading one can run any program",
            "Take the version of the model in safetensors, or convert it where you trust it:"
            " load it with transformers and call save_pretrained.",
        )
    raise UserError(f"there are no weights in {folder}", f"It should hold {WEIGHTS} or {INDEX}.")


def write_index(folder: Path, weight_map: Mapping[str, str], **metadata: int) -> None:
    """Write where each tensor is, by the name of its file."""
    (folder / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": dict(weight_map)}, indent=1) + "\n")


def _shards(index: Path) -> dict[str, list[str]]:
    try:
        weight_map: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        found: dict[str, list[str]] = {}
        for name, shard in weight_map.items():
            found.setdefault(shard, []).append(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{index} is not an index of weights: {error}", "Get the file again.") from error
    return found


def shapes_of(config: ModelConfig, vocab_size: int) -> dict[str, Shape]:
    """The shape of each tensor that a folder of this model holds, by name."""
    with torch.device("meta"):
        model = Decoder(config, vocab_size)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def is_without_effect(name: str, config: ModelConfig) -> bool:
    """Whether a tensor is no part of the model: the copy of a tied head, or frequencies that are computed."""
    return name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and config.tie_word_embeddings)
