"""Writing a checkpoint together: all ranks or none.

Every rank writes its files on its own machine and puts them into the workspace. When all files are there, rank 0 writes
the list of them, and with it the checkpoint exists. A rank that fails tells the others, so all ranks stop together, and
the complete checkpoints stay.
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

from llm.errors import GristmillError, UserError
from llm.model import Decoder
from llm.model.weights import save
from llm.storage import FileEntry, Objects, disk_full, is_disk_full
from llm.training.checkpoint.find import (
    CALLBACKS,
    FILES,
    HISTORY,
    STATE,
    TrainingState,
    checkpoint_name,
    checkpoint_names,
    complete_names,
    remove_checkpoint,
)

Result = TypeVar("Result")


def save_checkpoint(
    workspace: Objects,
    scratch: Path,
    state: TrainingState,
    model: Decoder,
    end_of_text: int,
    rank_state: dict[str, Any] | None,
    history: list[dict[str, Any]],
    callbacks: list[dict[str, Any]],
    keep: int,
) -> None:
    """Write this step's checkpoint together with all other ranks, and drop the oldest beyond `keep`.

    Files are made below `scratch`, a folder of this machine. If the workspace is a folder, `scratch` is on its disk.
    Raises UserError (a full disk) or ServiceError (S3) on every rank when one fails; earlier checkpoints stay.
    """
    name = checkpoint_name(state.step)
    rank = dist.get_rank()
    partial = scratch / f".partial-{name}-{rank}"
    place = workspace.below(name)

    def begin() -> None:
        remove_checkpoint(workspace, name)  # it is damaged or was cut off, since nobody continued from it

    def write() -> list[FileEntry]:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if rank == 0:
            save(model, partial, end_of_text)
            (partial / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in history))
            (partial / STATE).write_text(json.dumps(asdict(state)) + "\n")
            (partial / CALLBACKS).write_text(json.dumps(callbacks) + "\n")
        if rank_state is not None:
            with (partial / f"rank-{rank}.pt").open("wb") as file:
                torch.save(rank_state, file)
        return [place.put(path, path.name) for path in sorted(partial.iterdir())]

    def seal() -> None:
        place.write(FILES, json.dumps([entry.model_dump() for part in entries for entry in part]).encode())
        kept = set(complete_names(workspace)[-keep:])
        for old in checkpoint_names(workspace):
            if old not in kept:
                remove_checkpoint(workspace, old)

    try:
        _together(scratch, begin if rank == 0 else _nothing)
        entries = _together(scratch, write)
        _together(scratch, seal if rank == 0 else _nothing)
    except GristmillError:
        if rank == 0 and place.read(FILES) is None:
            remove_checkpoint(workspace, name)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_rank_state(path: Path) -> dict[str, Any]:
    """A rank's optimizer state. The file is our own and was checked, so it may hold any Python object."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return state


def _together(scratch: Path, part: Callable[[], Result]) -> list[Result]:
    """Do a part of the work on every rank; returns all results, or raises on every rank if it failed on any."""
    result: Result | None = None
    failure: OSError | None = None
    refusal: GristmillError | None = None
    try:
        result = part()
    except GristmillError as error:
        refusal = error
    except (OSError, RuntimeError, SafetensorError) as error:
        failure = _os_error(error, scratch)
    said = (result, None if failure is None else failure.errno or errno.EIO, refusal)
    outcomes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(outcomes, said)
    if (refused := refusal or next((one for _, _, one in outcomes if one is not None), None)) is not None:
        raise refused
    code = next((code for _, code, _ in outcomes if code is not None), None)
    if code is None:
        return [result for result, _, _ in outcomes]
    cause = failure or OSError(code, os.strerror(code), str(scratch))
    if is_disk_full(cause):
        raise disk_full(scratch, cause) from failure
    raise UserError(f"the checkpoint cannot be written to {scratch}: {os.strerror(code)}") from failure


def _nothing() -> None:
    """The wait of the other ranks while rank 0 works."""


def _os_error(error: Exception, folder: Path) -> OSError:
    """The OSError behind a library's error while writing; re-raises an error that has none.

    torch raises its own error while the file's OSError is handled; safetensors only puts it into words.
    """
    if isinstance(error, OSError):
        return error
    if isinstance(error.__context__, OSError):
        return error.__context__
    if is_disk_full(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise error
