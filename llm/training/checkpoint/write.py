"""Writing a checkpoint together: all ranks or none.

The training goes on meanwhile: what is written is a copy (`Snapshot`), and the ranks agree over a group of their own
(`llm.training.checkpoint.saver`). Every rank writes its files on its own machine and puts them into the workspace. When
all files are there, rank 0 writes the list of them, and with it the checkpoint exists. A rank that fails tells the
others, so all ranks stop together, and the complete checkpoints stay.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor

from llm.errors import GristmillError, UserError
from llm.model.weights import save_config, save_some
from llm.storage import FileEntry, Objects, disk_full, is_disk_full
from llm.training.checkpoint.find import (
    CALLBACKS,
    FILES,
    SEGMENTS,
    STATE,
    STATES,
    TrainingState,
    checkpoint_name,
    checkpoint_names,
    complete_names,
    remove_checkpoint,
)
from llm.training.checkpoint.history import History
from llm.training.checkpoint.keep import kept, write_kept
from llm.training.checkpoint.pieces import Group, Index, States, joined, write_pieces
from llm.training.checkpoint.weights import Shards, owners, write_index_of

if TYPE_CHECKING:
    from llm.training.backend import Backend
    from llm.training.plan import TrainingPlan

Result = TypeVar("Result")
Written = tuple[list[FileEntry], Index]
"""A rank's files, and where its pieces are."""


@dataclass(frozen=True)
class Snapshot:
    """All that a rank writes of a step, in memory that the training does not touch."""

    state: TrainingState
    shards: Shards
    """All files of the weights, with the parameters in each."""
    weights: dict[str, Tensor]
    """Whole parameters: those of the files that this rank writes."""
    pieces: States
    groups: list[Group]
    history: History
    lines: int
    """Lines of the history up to this step; the training adds to it meanwhile."""
    callbacks: list[dict[str, Any]]

    @classmethod
    def take(
        cls, backend: Backend, shards: Shards, state: TrainingState,
        history: History, callbacks: list[dict[str, Any]],
    ) -> Snapshot:  # fmt: skip
        """Copy them now; all ranks come, since some backends gather here."""
        rank, owner = dist.get_rank(), owners(shards, dist.get_world_size())
        weights = backend.weights(owner)
        return cls(
            state,
            shards,
            {name: _copy(tensor) for name, tensor in weights.items() if owner[name] == rank},
            {name: replace(piece, values=_copy(piece.values)) for name, piece in backend.states().items()},
            backend.groups(),
            history,
            len(history),
            callbacks,
        )


def write_checkpoint(
    workspace: Objects, scratch: Path, plan: TrainingPlan, snapshot: Snapshot, group: dist.ProcessGroup
) -> None:
    """Write a checkpoint together with all other ranks, and drop those that are not kept.

    Files are made below `scratch`, a folder of this machine. If the workspace is a folder, `scratch` is on its disk.
    Raises UserError (a full disk) or ServiceError (S3) on every rank when one fails; earlier checkpoints stay.
    """
    state = snapshot.state
    name = checkpoint_name(state.step)
    rank = dist.get_rank()
    partial = scratch / f".partial-{name}-{rank}"
    place = workspace.below(name)

    def begin() -> None:
        remove_checkpoint(workspace, name)  # it is damaged or was cut off, since nobody continued from it

    def write() -> Written:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file, names in snapshot.shards.items():
            if names[0] in snapshot.weights:
                save_some({name: snapshot.weights[name] for name in names}, plan.model, partial / file)
        if rank == 0:
            save_config(plan.model, plan.vocab_size, partial, plan.end_of_text)
            if len(snapshot.shards) > 1:
                write_index_of(snapshot.shards, plan.model, plan.vocab_size, partial)
            segments = snapshot.history.save(workspace, scratch, snapshot.lines, name)
            (partial / SEGMENTS).write_text(json.dumps(segments) + "\n")
            (partial / STATE).write_text(json.dumps(asdict(state)) + "\n")
            (partial / CALLBACKS).write_text(json.dumps(snapshot.callbacks) + "\n")
        index = write_pieces(snapshot.pieces, partial / f"states-{rank}.safetensors") if snapshot.pieces else {}
        return [place.put(path, path.name) for path in sorted(partial.iterdir())], index

    def seal() -> None:
        document = {"groups": snapshot.groups, "states": joined(index for _, index in written)}
        (partial / STATES).write_text(json.dumps(document) + "\n")
        entries = [entry for part, _ in written for entry in part] + [place.put(partial / STATES, STATES)]
        place.write(FILES, json.dumps([entry.model_dump() for entry in entries]).encode())
        names = [one for one in complete_names(workspace) if one <= name]  # later ones are damaged: we began before
        reasons = kept(names, plan.training, snapshot.history)
        write_kept(workspace, reasons)
        for old in checkpoint_names(workspace):
            if old not in reasons:
                remove_checkpoint(workspace, old)

    try:
        _together(group, scratch, begin if rank == 0 else _nothing)
        written = _together(group, scratch, write)
        _together(group, scratch, seal if rank == 0 else _nothing)
    except GristmillError:
        if rank == 0 and place.read(FILES) is None:
            remove_checkpoint(workspace, name)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _together(group: dist.ProcessGroup, scratch: Path, part: Callable[[], Result]) -> list[Result]:
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
    dist.all_gather_object(outcomes, said, group)
    if (refused := refusal or next((one for _, _, one in outcomes if one is not None), None)) is not None:
        raise refused
    code = next((code for _, code, _ in outcomes if code is not None), None)
    if code is None:
        return [result for result, _, _ in outcomes]
    cause = failure or OSError(code, os.strerror(code), str(scratch))
    if is_disk_full(cause):
        raise disk_full(scratch, cause) from failure
    raise UserError(f"the checkpoint cannot be written to {scratch}: {os.strerror(code)}") from failure


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


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
