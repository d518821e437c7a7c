"""Checkpoints of a training in progress: complete or absent, and the newest whole one is used.

    <workspace>/step-00000025/   config.json, model.safetensors   rank 0: the model, in Hugging Face's format
                                                                  (a large one in shards, by all ranks)
                                 history.json                     rank 0: the segments of the losses so far
                                 state.json                       rank 0: step, tokens, and what made it
                                 callbacks.json                   rank 0: states of the added callbacks, in their order
                                 states-0.safetensors …           a rank's pieces of the optimizer's states
                                 states.json                      rank 0: where each piece is
                                 files.json                       written last: every file's size and sha256

The *workspace* is the training's place in the store: a folder here, or a prefix in S3 that all nodes reach. This is how
checkpoints are found, judged and read, without torch; `llm.training.checkpoint.write` makes them.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from llm.storage import FileEntry, Objects

FILES = "files.json"
STATE = "state.json"
HISTORY = "history.jsonl"
"""The losses of a product, and of a checkpoint of an earlier version."""
SEGMENTS = "history.json"
SEGMENTS_AT_ONCE = 8
CALLBACKS = "callbacks.json"
STATES = "states.json"
WEIGHT_INDEX = "model.safetensors.index.json"
STEP = "step-"
NO_LIST = f"{FILES} is missing or broken"
_Entries = TypeAdapter(tuple[FileEntry, ...])


@dataclass(frozen=True)
class TrainingState:
    """The progress of a training. Ranks and backend that saved it are there for people: any others can go on."""

    step: int
    tokens: int
    world_size: int
    backend: str
    rollbacks: list[dict[str, int]] = field(default_factory=list)
    """Those of the training so far (`llm.training.guards.rollback`)."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its name, its files, and the workspace that they are in."""

    name: str
    files: tuple[FileEntry, ...]
    workspace: Objects

    @property
    def place(self) -> Objects:
        """Where its own files are."""
        return self.workspace.below(self.name)

    def fetch(self, file: str, into: Path, *, checked: bool = False) -> Path:
        """One of its files on this machine, in place or below `into`; raises DamagedError.

        `checked`: a rank of this machine has judged and fetched it before.
        """
        return self.place.fetch(next(entry for entry in self.files if entry.path == file), into, checked=checked)

    def problem(self, part: int = 0, parts: int = 1) -> str | None:
        """The first fault among its files, or among a part of them; None if they are what was written."""
        files = sorted(self.files, key=lambda entry: (-entry.size_bytes, entry.path))[part::parts]
        found = ((entry.path, self.place.problem(entry)) for entry in files)
        return next((f"{path} {problem}" for path, problem in found if problem is not None), None)

    def state(self) -> TrainingState:
        """The state of the training."""
        content = self.place.read(STATE)
        assert content is not None, f"{self.name} is whole and has no {STATE}"
        found = json.loads(content)
        return TrainingState(**{one.name: found[one.name] for one in fields(TrainingState) if one.name in found})

    def states(self) -> bytes | None:
        """The document that says where each piece of the optimizer's states is; None if an earlier version saved it."""
        return self.place.read(STATES)

    def weight_map(self) -> dict[str, str]:
        """The file of each weight, if they are in shards."""
        content = self.place.read(WEIGHT_INDEX)
        found: dict[str, str] = {} if content is None else json.loads(content)["weight_map"]
        return found

    def model_files(self) -> list[str]:
        """Names of the files that are the model: config and weights."""
        return [entry.path for entry in self.files if entry.path == "config.json" or entry.path.startswith("model")]

    def history(self) -> list[dict[str, Any]]:
        """A line for each step and each validation so far."""
        return [json.loads(line) for line in self.history_lines()]

    def lost_history(self) -> list[str]:
        """A line for each segment of the history that is not what was written; its losses are lost.

        All checkpoints share the segments. So one that is lost is no reason to pass over a checkpoint.
        """
        return [
            f"a part of the losses is lost: {entry.path} is not there as it was written"
            for entry, content in self._segments if content is None
        ]  # fmt: skip

    def history_lines(self) -> list[bytes]:
        """The same as JSON."""
        contents = [self.place.read(HISTORY), *(content for _, content in self._segments)]
        return [line for content in contents for line in (content or b"").splitlines()]

    @cached_property
    def _segments(self) -> list[tuple[FileEntry, bytes | None]]:
        """The segments with their contents; None: it is not what was written. In S3 each is a request."""
        entries = _Entries.validate_json(self.place.read(SEGMENTS) or b"[]")
        with ThreadPoolExecutor(SEGMENTS_AT_ONCE) as pool:
            contents = pool.map(lambda entry: self.workspace.read(entry.path), entries)
            return [
                (entry, content if _is(entry, content) else None)
                for entry, content in zip(entries, contents, strict=True)
            ]

    def callbacks(self) -> list[dict[str, Any]]:
        """States of the callbacks that the configuration names, in their order."""
        states: list[dict[str, Any]] = json.loads(self.place.read(CALLBACKS) or b"[]")
        return states


def _is(entry: FileEntry, content: bytes | None) -> bool:
    return content is not None and sha256(content).hexdigest() == entry.sha256


def newest_checkpoint(workspace: Objects) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a line for each newer one that is not whole."""
    damaged: list[str] = []
    for name in reversed(checkpoint_names(workspace)):
        problem: str | None = NO_LIST
        if (files := listed(workspace, name)) is not None:
            checkpoint = Checkpoint(name, files, workspace)
            problem = checkpoint.problem()
            if problem is None:
                return checkpoint, damaged
        damaged.append(not_used(name, problem))
    return None, damaged


def listed(workspace: Objects, name: str) -> tuple[FileEntry, ...] | None:
    """The files of the checkpoint of that name, not judged yet; None if their list cannot be read."""
    content = workspace.below(name).read(FILES)
    try:
        return None if content is None else _Entries.validate_json(content)
    except ValueError:
        return None


def not_used(name: str, problem: str | None) -> str:
    """The words about a checkpoint that is not whole."""
    return f"checkpoint {name} is not used: {problem}"


def checkpoint_names(workspace: Objects) -> list[str]:
    """Names of all checkpoints, whole or not, the oldest first."""
    return sorted({name.partition("/")[0] for name in workspace.names(STEP)})


def complete_names(workspace: Objects) -> list[str]:
    """Names of the complete checkpoints, the oldest first."""
    return sorted(name.partition("/")[0] for name in workspace.names(STEP) if name.endswith(f"/{FILES}"))


def checkpoint_name(step: int) -> str:
    """Name of the checkpoint after a step."""
    return f"{STEP}{step:08d}"


def remove_checkpoint(workspace: Objects, name: str) -> None:
    """Remove a checkpoint; its list goes first, so that half of it is never taken for whole."""
    workspace.remove(f"{name}/{FILES}")
    workspace.remove(f"{name}/")


def step_of(name: str) -> int:
    """Steps that the checkpoint of this name holds."""
    return int(name.removeprefix(STEP))
