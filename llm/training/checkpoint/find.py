"""Checkpoints of a training in progress: complete or absent, and the newest whole one is used.

    <workspace>/step-00000025/   model.safetensors, config.json   rank 0: the model, in Hugging Face's format
                                 history.jsonl                    rank 0: losses so far
                                 state.json                       rank 0: step, ranks, backend, order of the data
                                 callbacks.json                   rank 0: states of the added callbacks, in their order
                                 rank-0.pt …                      optimizer state of a rank
                                 files.json                       written last: every file's size and sha256

The *workspace* is the training's place in the store: a folder here, or a prefix in S3 that all nodes reach. This is how
checkpoints are found, judged and read, without torch; `llm.training.checkpoint.write` makes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from llm.errors import UserError
from llm.storage import FileEntry, Objects

FILES = "files.json"
STATE = "state.json"
HISTORY = "history.jsonl"
CALLBACKS = "callbacks.json"
MODEL = ("model.safetensors", "config.json")
STEP = "step-"
_Entries = TypeAdapter(tuple[FileEntry, ...])


@dataclass(frozen=True)
class TrainingState:
    """The progress of a training: its next step, and what must be the same when it continues."""

    step: int
    tokens: int
    world_size: int
    backend: str
    seed: int
    data_fingerprint: str


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its name, its files, and where they are."""

    name: str
    files: tuple[FileEntry, ...]
    place: Objects

    def fetch(self, file: str, into: Path) -> Path:
        """One of its files on this machine, in place or below `into`; raises DamagedError."""
        return self.place.fetch(next(entry for entry in self.files if entry.path == file), into)

    def state(self) -> TrainingState:
        """The state of the training."""
        content = self.place.read(STATE)
        assert content is not None, f"{self.name} is whole and has no {STATE}"
        return TrainingState(**json.loads(content))

    def callbacks(self) -> list[dict[str, Any]]:
        """States of the callbacks that the configuration names, in their order."""
        states: list[dict[str, Any]] = json.loads(self.place.read(CALLBACKS) or b"[]")
        return states

    def rank_file(self, rank: int) -> str:
        """Name of the file with a rank's optimizer state; where ranks do not differ, that of rank 0 is all ranks'."""
        own = f"rank-{rank}.pt"
        return own if any(entry.path == own for entry in self.files) else "rank-0.pt"


def newest_checkpoint(workspace: Objects) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a line for each newer one that is not whole."""
    damaged: list[str] = []
    for name in reversed(checkpoint_names(workspace)):
        place = workspace.below(name)
        entries = _entries(place)
        problem = f"{FILES} is missing or broken" if entries is None else _problem(place, entries)
        if entries is not None and problem is None:
            return Checkpoint(name, entries, place), damaged
        damaged.append(f"checkpoint {name} is not used: {problem}")
    return None, damaged


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


def refuse_other_run(was: TrainingState, now: TrainingState, checkpoint: str) -> None:
    """Raise UserError if a checkpoint cannot be continued by this training."""
    or_again = "or training.on_change=anew, which starts at step 0."
    for name, remedy in (
        (
            "world_size",
            "Another number of ranks cannot continue it yet: keep training.parallel.nodes times"
            f" training.parallel.processes, {or_again}",
        ),
        ("backend", f"Set training.parallel.backend.name to it, {or_again}"),
        ("seed", f"Set training.seed to it, {or_again}"),
        ("data_fingerprint", f"The token shards are not those that it was trained on: give those, {or_again}"),
    ):
        before, wanted = getattr(was, name), getattr(now, name)
        if before != wanted:
            raise UserError(f"{checkpoint} cannot be continued: {name} was {before}, now it is {wanted}", remedy)


def _entries(place: Objects) -> tuple[FileEntry, ...] | None:
    content = place.read(FILES)
    try:
        return None if content is None else _Entries.validate_json(content)
    except ValueError:
        return None


def _problem(place: Objects, entries: tuple[FileEntry, ...]) -> str | None:
    found = ((entry.path, place.problem(entry)) for entry in entries)
    return next((f"{path} {problem}" for path, problem in found if problem is not None), None)
