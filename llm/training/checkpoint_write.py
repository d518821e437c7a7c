"""Writing a checkpoint together: all ranks or none.

Every rank writes into one temporary folder, which takes its name by a rename when every file and the list of them
are on the disk. A rank that fails tells the others, so that all stop together and what was complete stays.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors import SafetensorError

from llm.errors import UserError
from llm.model import Decoder
from llm.model.weights import save
from llm.storage import FileEntry, disk_full, is_disk_full, sha256_of_file, sync
from llm.training.checkpoint import FILES, HISTORY, STATE, TrainingState, checkpoints

Result = TypeVar("Result")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    model: Decoder,
    end_of_text: int,
    rank_state: dict[str, Any] | None,
    history: list[dict[str, Any]],
    keep: int,
) -> None:
    """Write this step's checkpoint together with all other ranks, and drop the oldest beyond `keep`.

    Raises UserError on every rank when the disk of any is full; what was there before stays.
    """
    final = folder / f"step-{state.step:08d}"
    partial = folder / f".partial-{final.name}"
    rank = dist.get_rank()

    def begin() -> None:
        _remove_partial(folder)
        partial.mkdir(parents=True)

    def write_model() -> None:
        save(model, partial, end_of_text)
        (partial / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in history))
        (partial / STATE).write_text(json.dumps(asdict(state)) + "\n")

    def write() -> list[FileEntry]:
        if rank == 0:
            write_model()
        own = {f"rank-{rank}.pt"} if rank else {path.name for path in partial.iterdir()} | {"rank-0.pt"}
        if rank_state is not None:
            with (partial / f"rank-{rank}.pt").open("wb") as file:
                torch.save(rank_state, file)
        return [_sealed(partial / name) for name in sorted(own) if (partial / name).is_file()]

    def seal() -> None:
        _write_synced(partial / FILES, json.dumps([entry.model_dump() for part in entries for entry in part]))
        sync(partial)
        if final.exists():
            _remove(final)  # damaged, or it would have been the one to go on from
        os.rename(partial, final)
        sync(folder)
        for _, old in sorted(checkpoints(folder))[:-keep]:
            _remove(old)

    _together(folder, begin if rank == 0 else _nothing)
    entries = _together(folder, write)
    _together(folder, seal if rank == 0 else _nothing)


def read_rank_state(path: Path) -> dict[str, Any]:
    """A rank's optimizer state. The file is our own and was checked, so it may hold any Python object."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return state


def _together(folder: Path, part: Callable[[], Result]) -> list[Result]:
    """Do a part of the work on every rank; returns all results, or raises on every rank if it failed on any."""
    result: Result | None = None
    failure: OSError | None = None
    try:
        result = part()
    except (OSError, RuntimeError, SafetensorError) as error:
        failure = _os_error(error, folder)
    outcomes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(outcomes, (result, None if failure is None else failure.errno or errno.EIO))
    code = next((code for _, code in outcomes if code is not None), None)
    if code is None:
        return [result for result, _ in outcomes]
    if dist.get_rank() == 0:
        _remove_partial(folder)
    if code in NO_SPACE:
        raise disk_full(folder, failure or OSError(code, os.strerror(code), str(folder))) from failure
    raise UserError(f"the checkpoint cannot be written to {folder}: {os.strerror(code)}") from failure


def _nothing() -> None:
    """What other ranks do while rank 0 works."""


def _sealed(path: Path) -> FileEntry:
    """Force a file to the disk and describe it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return FileEntry(path=path.name, size_bytes=path.stat().st_size, sha256=sha256_of_file(path))


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint; its list goes first, so that half of it is never taken for whole."""
    (checkpoint / FILES).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _remove_partial(folder: Path) -> None:
    for partial in folder.glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def _os_error(error: Exception, folder: Path) -> OSError:
    """The OSError behind what a library raised while writing; re-raises what has none.

    torch raises its own error while the file's OSError is handled; safetensors only puts it into words.
    """
    if isinstance(error, OSError):
        return error
    if isinstance(error.__context__, OSError):
        return error.__context__
    if is_disk_full(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise error
