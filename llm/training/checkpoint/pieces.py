"""Weights and optimizer states by the names of parameters, for any backend on any number of ranks.

A state is cut into *pieces*: runs of its values in row order. A rank writes the pieces that it has, as they lie in its
memory; whoever reads asks for a run, whatever the pieces were (`docs/decisions/0014-checkpoints-by-name.md`).

    states-0.safetensors …   of each rank: its pieces, flat
    states.json              of the first rank: {"groups": [...], "states": {"exp_avg/model.norm.weight":
                             {"shape": [64], "runs": [[0, 32, "states-0.safetensors"], [32, 32, …]]}}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from llm.errors import DamagedError
from llm.model.foreign import WEIGHTS

Shape = tuple[int, ...]
Group = dict[str, Any]
"""Settings of a group of parameters, such as `lr` and `betas`."""
Index = dict[str, dict[str, Any]]
"""For each state, its shape and its runs: [first value, values, file]."""


@dataclass(frozen=True)
class Piece:
    """A run of a state's values."""

    values: Tensor
    """Flat."""
    start: int
    """Number of its first value in the whole state."""
    shape: Shape
    """Shape of the whole state."""


States = dict[str, Piece]
"""By kind and parameter, as `exp_avg/model.norm.weight`."""


def whole(state: Tensor) -> Piece:
    """A state that is all here."""
    return Piece(state.detach().flatten(), 0, tuple(state.shape))


def run_of(rows: Callable[[int, int], Tensor], shape: Shape, start: int, count: int) -> Tensor:
    """Values of a tensor from number `start` on, flat, where whole rows can be asked for: the first one and the end."""
    if not count:  # more ranks than values
        return torch.empty(0)
    width = math.prod(shape[1:])
    first, end = start // width, -(-(start + count) // width)
    return rows(first, end).flatten().narrow(0, start - first * width, count)


def write_pieces(pieces: States, path: Path) -> Index:
    """Write a rank's pieces, which share no memory, into a file of its own; returns where they are."""
    save_file({name: piece.values for name, piece in pieces.items()}, path)
    return {
        name: {"shape": list(piece.shape), "runs": [[piece.start, piece.values.numel(), path.name]]}
        for name, piece in pieces.items()
    }


def joined(parts: Iterable[Index]) -> Index:
    """The index of all ranks' pieces."""
    index: Index = {}
    for part in parts:
        for name, found in part.items():
            index.setdefault(name, {"shape": found["shape"], "runs": []})["runs"] += found["runs"]
    return index


class Saved:
    """The weights and states of a checkpoint, read by name; `close` when all is read."""

    def __init__(
        self, document: bytes, fetch: Callable[[str], Path], weight_map: Mapping[str, str] | None = None
    ) -> None:
        """`document` is states.json, `fetch` gives the path of a file, `weight_map` names the shard of a weight."""
        content = json.loads(document)
        self.groups: list[Group] = content["groups"]
        self._states: Index = content["states"]
        self._weight_map = weight_map or {}
        self._fetch, self._open, self._stack = fetch, dict[str, Any](), ExitStack()
        self._kinds: dict[str, dict[str, Shape]] = {}
        for name, found in self._states.items():
            kind, parameter = name.split("/", 1)
            self._kinds.setdefault(parameter, {})[kind] = tuple(found["shape"])

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def weight(self, name: str) -> Tensor:
        """A whole parameter."""
        tensor: Tensor = self._shard(name).get_tensor(name)
        return tensor

    def rows(self, name: str, first: int, end: int) -> Tensor:
        """Rows of a parameter."""
        tensor: Tensor = self._shard(name).get_slice(name)[first:end]
        return tensor

    def kinds(self, parameter: str) -> Mapping[str, Shape]:
        """The states of a parameter, with their shapes; none before the first step."""
        return self._kinds.get(parameter, {})

    def state(self, kind: str, parameter: str) -> Tensor:
        """A whole state, in its shape."""
        shape = self.kinds(parameter)[kind]
        return self.run(kind, parameter, 0, torch.Size(shape).numel()).view(shape)

    def run(self, kind: str, parameter: str, first: int, count: int) -> Tensor:
        """Values of a state from number `first` on, flat; raises DamagedError if the pieces do not hold them all."""
        parts, at, end = list[Tensor](), first, first + count
        for start, length, file in sorted(self._states[f"{kind}/{parameter}"]["runs"]):
            if start <= at < min(end, start + length):
                taken = min(end, start + length)
                parts.append(self._file(file).get_slice(f"{kind}/{parameter}")[at - start : taken - start])
                at = taken
        if at < end:
            raise DamagedError(f"the checkpoint lacks values of {kind} of {parameter}: from number {at} of {end}")
        if len(parts) == 1:  # most are: a copy less
            return parts[0]
        return torch.cat(parts) if parts else torch.empty(0)

    def _shard(self, weight: str) -> Any:
        return self._file(self._weight_map.get(weight, WEIGHTS))

    def _file(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = self._stack.enter_context(safe_open(self._fetch(name), framework="pt"))
        return self._open[name]
