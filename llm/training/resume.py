"""Continuing from a checkpoint: the newest whole one, on all ranks alike."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import torch.distributed as dist

from llm.errors import GristmillError, UserError
from llm.runs.event_kinds import TrainResumed, Warned
from llm.training.checkpoint.find import (
    NO_LIST,
    Checkpoint,
    TrainingState,
    checkpoint_names,
    listed,
    not_used,
    step_of,
)
from llm.training.checkpoint.history import History
from llm.training.checkpoint.pieces import Saved
from llm.training.guards.rollback import ROLLBACK, Rollback, remove_later, written
from llm.training.identity import changes_so_far
from llm.training.schedule import steps_before_fall
from llm.words import in_one_line

if TYPE_CHECKING:
    from llm.training.trainer import Trainer


def resume(trainer: Trainer, steps: int | None = None) -> int:
    """Load the newest whole checkpoint into the trainer; returns the number of the next step, 0 without a checkpoint.

    `steps` of the whole training: if it was lengthened when its rate had begun to fall, that is said. A schedule that
    holds its rate until then goes on from the newest checkpoint before the fall, and later ones are removed.
    Checkpoints that a rollback from spikes left behind are not used (`llm.training.guards.rollback`).
    Raises UserError if the checkpoint is of another training, or if it cannot be loaded after a change.
    """
    rollback = trainer.mesh.agreed(lambda: written(trainer.workspace))
    checkpoint = _newest(trainer, rollback)
    if checkpoint is None:
        _take_rollback(trainer, rollback, 0, [])
        return 0
    newest = checkpoint
    if steps is not None:
        if step_of(newest.name) > steps:
            raise UserError(
                f"the training is at step {step_of(newest.name)}, and shall have {steps} steps",
                f"Set training.length.steps to {step_of(newest.name)} or more, or training.on_change=anew.",
            )
        checkpoint = _before_fall(trainer, newest, steps)
    state = checkpoint.state()
    if (states := checkpoint.states()) is None:
        raise UserError(
            f"{checkpoint.name} was saved by an earlier version of Gristmill, for the ranks that it had then",
            "End it with that version, or set training.on_change=anew, which starts at step 0.",
        )
    try:
        _load(trainer, checkpoint, state, states)
    except Exception as error:
        if isinstance(error, GristmillError | OSError) or not (changed := changes_so_far(trainer.workspace)):
            raise
        raise UserError(
            f"{checkpoint.name} cannot be continued after the change: {type(error).__name__}: {error}",
            f"Changed: {in_one_line([line for one in changed for line in one['changes']])}.",
            "Change it back, or set training.on_change=anew, which starts at step 0.",
        ) from error
    if trainer.mesh.is_first and checkpoint is not newest:
        remove_later(trainer.workspace, state.step)
    _take_rollback(trainer, rollback, state.step, state.rollbacks)
    return state.step


def _newest(trainer: Trainer, rollback: Rollback | None) -> Checkpoint | None:
    """The newest whole checkpoint that is not from before the last rollback, and later than its point."""
    checkpoint = _chosen(trainer)
    if rollback is None or checkpoint is None or step_of(checkpoint.name) <= rollback.step:
        return checkpoint
    if trainer.mesh.agreed(lambda: rollback.is_in(checkpoint.state().rollbacks)):
        return checkpoint
    if trainer.mesh.is_first:  # a kill came before this was done
        remove_later(trainer.workspace, rollback.step)
    return _chosen(trainer, rollback.step)


def _take_rollback(trainer: Trainer, rollback: Rollback | None, step: int, before: list[dict[str, int]]) -> None:
    """Let the training know its rollbacks: those of the checkpoint, and the last one if it goes on from its point."""
    trainer.rolled_back = list(before)
    if rollback is None or rollback.is_in(before):
        return
    if step == rollback.step:
        trainer.rolled_back.append(asdict(rollback))
        if trainer.mesh.is_first:
            trainer.history.append(asdict(rollback))
    elif trainer.mesh.is_first:  # from before its point: the spikes come again, and it with them
        trainer.workspace.remove(ROLLBACK)


def _before_fall(trainer: Trainer, newest: Checkpoint, steps: int) -> Checkpoint:
    """The checkpoint to go on from in a training of `steps`, with a warning if the rate fell for a shorter one."""
    schedule, peak = trainer.config.schedule, trainer.config.optimizer.lr
    before = trainer.mesh.agreed(lambda: steps_before_fall(newest.history(), schedule, peak, steps))
    if before is None:
        return newest
    earlier = _chosen(trainer, before) if schedule.holds_until_fall else None
    said = f"the learning rate began to fall after step {before}, for a shorter training"
    if earlier is None:
        said += ": that fall is in the weights that the training goes on from"
    else:
        said += f": the training goes on from {earlier.name}, and later checkpoints are removed"
    if trainer.mesh.is_first:
        trainer.log.emit(Warned(message=said))
    return earlier or newest


def _load(trainer: Trainer, checkpoint: Checkpoint, state: TrainingState, states: bytes) -> None:
    """Put a checkpoint into the trainer, together with all other ranks."""
    into = trainer.scratch / ".fetched"
    if os.environ.get("LOCAL_RANK", "0") == "0":  # once a node; the others find the files there
        shutil.rmtree(into, ignore_errors=True)  # of an attempt that was cut off
        for entry in checkpoint.files:
            if entry.path.endswith(".safetensors"):
                checkpoint.fetch(entry.path, into, checked=True)
    dist.barrier(trainer.saver.group)
    weights = checkpoint.weight_map()
    with closing(Saved(states, lambda name: checkpoint.fetch(name, into, checked=True), weights)) as saved:
        trainer.backend.load(saved)
    for callback, of_callback in zip(trainer.added, checkpoint.callbacks(), strict=True):
        callback.load(of_callback)
    if trainer.mesh.is_first:
        trainer.history = History(checkpoint.history())  # the next save writes it as one segment
        for line in checkpoint.lost_history():
            trainer.log.emit(Warned(message=line))
        trainer.log.emit(TrainResumed(step=state.step, checkpoint=checkpoint.name))
    dist.barrier()
    shutil.rmtree(into, ignore_errors=True)


def _chosen(trainer: Trainer, at_most: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint, of `at_most` so many steps: each rank judges a part of the files, and all agree."""
    names = trainer.mesh.agreed(lambda: checkpoint_names(trainer.workspace))
    for name in reversed(names):
        if at_most is not None and step_of(name) > at_most:
            continue
        files = trainer.mesh.agreed(partial(listed, trainer.workspace, name))
        if files is None:
            problem: str | None = NO_LIST
        else:
            checkpoint = Checkpoint(name, files, trainer.workspace)
            problems: list[str | None] = [None] * trainer.world
            own = checkpoint.problem(trainer.rank, trainer.world)
            dist.all_gather_object(problems, own, trainer.saver.group)
            problem = next((one for one in problems if one is not None), None)
        if problem is None:
            return checkpoint
        if trainer.mesh.is_first:
            trainer.log.emit(Warned(message=not_used(name, problem)))
    return None
