"""Continuing from a checkpoint: the newest whole one, on all ranks alike."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from safetensors.torch import load_file

from llm.errors import GristmillError, UserError
from llm.runs.event_kinds import TrainResumed, Warned
from llm.training.checkpoint.find import HISTORY, Checkpoint, TrainingState, newest_checkpoint, refuse_other_run
from llm.training.checkpoint.write import read_rank_state
from llm.training.identity import changes_so_far
from llm.words import in_one_line

if TYPE_CHECKING:
    from llm.training.trainer import Trainer


def resume(trainer: Trainer) -> int:
    """Load the newest whole checkpoint into the trainer; returns the number of the next step, 0 without a checkpoint.

    Raises UserError if the checkpoint is of another training, or if it cannot be loaded after a change.
    """
    checkpoint = _chosen(trainer)
    if checkpoint is None:
        return 0
    state = checkpoint.state()
    refuse_other_run(state, trainer.training_state(state.step), checkpoint.name)
    try:
        _load(trainer, checkpoint, state)
    except Exception as error:
        if isinstance(error, GristmillError | OSError) or not (changed := changes_so_far(trainer.workspace)):
            raise
        raise UserError(
            f"{checkpoint.name} cannot be continued after the change: {type(error).__name__}: {error}",
            f"Changed: {in_one_line([line for one in changed for line in one['changes']])}.",
            "Change it back, or set training.on_change=anew, which starts at step 0.",
        ) from error
    return state.step


def _load(trainer: Trainer, checkpoint: Checkpoint, state: TrainingState) -> None:
    """Put a checkpoint into the trainer, together with all other ranks."""
    into = trainer.scratch / ".fetched"
    if os.environ.get("LOCAL_RANK", "0") == "0":
        checkpoint.fetch("model.safetensors", into)  # once a node; the others find it there
    dist.barrier()
    trainer.model.load_state_dict(load_file(checkpoint.fetch("model.safetensors", into)))
    trainer.backend.load_state_dict(read_rank_state(checkpoint.fetch(checkpoint.rank_file(trainer.rank), into)))
    for callback, of_callback in zip(trainer.added, checkpoint.callbacks(), strict=True):
        callback.load(of_callback)
    if trainer.rank == 0:
        lines = checkpoint.fetch(HISTORY, into).read_text().splitlines()
        trainer.history = [json.loads(line) for line in lines]
        trainer.log.emit(TrainResumed(step=state.step, checkpoint=checkpoint.name))
    dist.barrier()
    shutil.rmtree(into, ignore_errors=True)


def _chosen(trainer: Trainer) -> Checkpoint | None:
    """The checkpoint that rank 0 found, so that all ranks agree."""
    choice: list[Any] = [None, None]
    if trainer.rank == 0:
        newest, damaged = newest_checkpoint(trainer.workspace)
        for line in damaged:
            trainer.log.emit(Warned(message=line))
        if newest is not None:
            choice = [newest.name, newest.files]
    dist.broadcast_object_list(choice)
    return None if choice[0] is None else Checkpoint(choice[0], choice[1], trainer.workspace.below(choice[0]))
