"""Checkpoints of a training in progress: complete or absent, and the newest whole one is used.

    <folder>/step-00000025/   model.safetensors, config.json   rank 0: the model, in Hugging Face's format
                              history.jsonl                    rank 0: losses so far
                              state.json                       rank 0: step, ranks, backend, order of the data
                              rank-0.pt …                      optimizer state of a rank
                              files.json                       written last: every file's size and sha256

This is how they are found, judged and read, without torch; `llm.training.checkpoint_write` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from llm.errors import UserError
from llm.storage import FileEntry, sha256_of_file

FILES = "files.json"
STATE = "state.json"
HISTORY = "history.jsonl"
MODEL = ("model.safetensors", "config.json")
_Entries = TypeAdapter(tuple[FileEntry, ...])


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands: the next step, and what must be the same when it goes on."""

    step: int
    tokens: int
    world_size: int
    backend: str
    seed: int
    data_fingerprint: str


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a line for each newer one that is damaged."""
    damaged: list[str] = []
    for _, path in sorted(checkpoints(folder), reverse=True):
        problem = _problem(path)
        if problem is None:
            return path, damaged
        damaged.append(f"checkpoint {path.name} is not used: {problem}")
    return None, damaged


def checkpoints(folder: Path) -> Iterator[tuple[int, Path]]:
    """Step and folder of each checkpoint, whole or not, in no order."""
    for path in folder.glob("step-*"):
        yield int(path.name.removeprefix("step-")), path


def read_state(checkpoint: Path) -> TrainingState:
    """Where the training stood."""
    return TrainingState(**json.loads((checkpoint / STATE).read_text()))


def rank_file(checkpoint: Path, rank: int) -> Path:
    """The file with a rank's optimizer state; where ranks do not differ, that of rank 0 is all ranks'."""
    own = checkpoint / f"rank-{rank}.pt"
    return own if own.is_file() else checkpoint / "rank-0.pt"


def refuse_other_run(was: TrainingState, now: TrainingState, checkpoint: Path) -> None:
    """Raise UserError if a checkpoint cannot be continued by this training."""
    for name, remedy in (
        ("world_size", "Set training.processes to it; continuing on another number of ranks is not supported yet."),
        ("backend", "Set training.backend to it, or remove the folder to begin anew."),
        ("seed", "Set training.seed to it, or remove the folder to begin anew."),
        ("data_fingerprint", "The token shards are not those that it was trained on: remove the folder to begin anew."),
    ):
        before, wanted = getattr(was, name), getattr(now, name)
        if before != wanted:
            raise UserError(f"{checkpoint} cannot be continued: {name} was {before}, now it is {wanted}", remedy)


def _problem(path: Path) -> str | None:
    try:
        entries = _Entries.validate_json((path / FILES).read_bytes())
    except (OSError, ValueError):
        return f"{FILES} is missing or broken"
    for entry in entries:
        file = path / entry.path
        if not file.is_file():
            return f"{entry.path} is missing"
        if file.stat().st_size != entry.size_bytes or sha256_of_file(file) != entry.sha256:
            return f"{entry.path} is not what was written"
    return None
