"""Checkpoints of a training in progress: complete or absent, and the newest whole one is used.

    <folder>/step-00000025/   weights.safetensors   rank 0: the model
                              rank-0.pt …           each rank: its optimizer state
                              state.json            step, ranks, backend, data order
                              history.jsonl         loss, rate and norm of every step so far
                              files.json            written last: every file's size and sha256

All ranks write into one temporary folder, which takes its name by a rename when every file and the list of them
are on the disk. A rank that fails tells the others, so that all stop together.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from llm.errors import UserError
from llm.storage import FileEntry, disk_full, sha256_of_file, sync_folder

FILES = "files.json"
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


def save_checkpoint(
    folder: Path, state: TrainingState, weights: dict[str, Tensor], rank_state: dict[str, Any], history: str, keep: int
) -> None:
    """Write this step's checkpoint together with all other ranks, and drop the oldest beyond `keep`.

    Raises UserError on every rank when the disk of any is full; what was there before stays.
    """
    final = folder / f"step-{state.step:08d}"
    partial = folder / f".partial-{final.name}"
    rank = dist.get_rank()
    error: OSError | None = None
    try:
        if rank == 0:
            _remove_partial(folder)
            partial.mkdir(parents=True)
    except OSError as failure:
        error = failure
    _all_or_none(error, folder)
    try:
        if rank == 0:
            contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
            save_file(contiguous, partial / "weights.safetensors")
            (partial / "state.json").write_text(json.dumps(asdict(state)))
            (partial / "history.jsonl").write_text(history)
        torch.save(rank_state, partial / f"rank-{rank}.pt")
    except (OSError, RuntimeError) as failure:  # torch and safetensors report a full disk as RuntimeError
        error = _as_os_error(failure, folder)
    _all_or_none(error, folder)
    try:
        if rank == 0:
            _seal(partial)
            os.rename(partial, final)
            sync_folder(folder)
            for _, old in sorted(_steps(folder))[:-keep]:
                _remove(old)
    except OSError as failure:
        error = failure
    _all_or_none(error, folder)


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a line for each newer one that is damaged."""
    damaged = []
    for _, path in sorted(_steps(folder), reverse=True):
        problem = _problem(path)
        if problem is None:
            return path, damaged
        damaged.append(f"checkpoint {path.name} is not used: {problem}")
    return None, damaged


def read_state(checkpoint: Path) -> TrainingState:
    """Where the training stood."""
    return TrainingState(**json.loads((checkpoint / "state.json").read_text()))


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The model's weights."""
    return load_file(checkpoint / "weights.safetensors")


def read_rank_state(checkpoint: Path, rank: int) -> dict[str, Any]:
    """A rank's optimizer state. The file is our own and was checked, so it may hold any Python object."""
    state: dict[str, Any] = torch.load(checkpoint / f"rank-{rank}.pt", map_location="cpu", weights_only=False)
    return state


def refuse_other_run(state: TrainingState, now: TrainingState, checkpoint: Path) -> None:
    """Raise UserError if a checkpoint cannot be continued by this training."""
    for name, remedy in (
        ("world_size", "Set training.processes to it; continuing on another number of ranks is not supported yet."),
        ("backend", "Set training.backend to it, or train anew with --retrain."),
        ("seed", "Set training.seed to it, or train anew with --retrain."),
        ("data_fingerprint", "The token shards are not those that it was trained on; train anew with --retrain."),
    ):
        was, wanted = getattr(state, name), getattr(now, name)
        if was != wanted:
            raise UserError(f"{checkpoint} cannot be continued: {name} was {was}, now it is {wanted}", remedy)


def _seal(partial: Path) -> None:
    """List every file with its hash and force all of it to the disk."""
    entries = []
    for path in sorted(partial.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        entries.append(
            FileEntry(path=path.name, size_bytes=path.stat().st_size, sha256=sha256_of_file(path)).model_dump()
        )
    with (partial / FILES).open("w") as file:
        json.dump(entries, file)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(partial)


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


def _steps(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob("step-*"):
        yield int(path.name.removeprefix("step-")), path


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint; its list goes first, so that half of it is never taken for whole."""
    (checkpoint / FILES).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _remove_partial(folder: Path) -> None:
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def _as_os_error(error: OSError | RuntimeError, folder: Path) -> OSError:
    """The OSError behind what a library raised while writing; re-raises what is none."""
    if isinstance(error, OSError):
        return error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if shutil.disk_usage(folder).free < 2**20 or "os error 28" in str(error).lower() or "No space" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise error


def _all_or_none(error: OSError | None, folder: Path) -> None:
    """Agree over the ranks whether a part of the work went well; raises on every rank if it did not."""
    codes: list[int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(codes, None if error is None else (error.errno or errno.EIO))
    failed = next((code for code in codes if code is not None), None)
    if failed is None:
        return
    if dist.get_rank() == 0:
        _remove_partial(folder)
    if failed in (errno.ENOSPC, errno.EDQUOT):
        raise disk_full(folder, error or OSError(failed, os.strerror(failed), str(folder)))
    raise UserError(f"the checkpoint cannot be written to {folder}: {os.strerror(failed)}") from error
