"""Going back from spikes: to a checkpoint before them, and on from there with the batches after them.

A rollback is written down first; then the training begins again from what is written, as after a kill. So one that is
cut off at any moment repeats it. Its point is a multiple of a setting, and not of the checkpoints that happen to be
there: the result follows from the settings alone.

    <workspace>/rollback.json   the last one: {"step": 100, "batch": 130, "number": 1}: step 100 (from 0) takes batch
                                130, and those after it follow; it is the first rollback
    state.json                  of each later checkpoint: all of them so far

The idea of skipping the batches: Chowdhery et al. 2022, arXiv:2204.02311, section 5.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llm.runs.event_kinds import RolledBack
from llm.training.checkpoint.find import checkpoint_name, checkpoint_names, listed, remove_checkpoint, step_of

if TYPE_CHECKING:
    from llm.storage import Objects
    from llm.training.trainer import Trainer

ROLLBACK = "rollback.json"


class BeginsAgain(Exception):
    """The training goes on from an earlier checkpoint: whoever made the trainer makes another one."""


@dataclass(frozen=True)
class Rollback:
    """Where the training went on, and with which batch."""

    step: int
    """Steps that were done there."""
    batch: int
    """Number of the batch that the next step took."""
    number: int
    """Rollbacks of the training, this one included."""

    def is_in(self, rollbacks: Iterable[Mapping[str, int]]) -> bool:
        """Whether a checkpoint with these rollbacks comes after it."""
        return asdict(self) in rollbacks


def batch_of(number: int, lines: Iterable[Mapping[str, int]]) -> int:
    """The batch of a step (from 0) after these rollbacks."""
    shift = 0
    for line in lines:
        if line["step"] <= number:
            shift = line["batch"] - line["step"]
    return number + shift


def count(trainer: Trainer) -> int:
    """Rollbacks of the training so far."""
    return trainer.rolled_back[-1]["number"] if trainer.rolled_back else 0


def written(workspace: Objects) -> Rollback | None:
    """The last rollback; None if there was none."""
    try:
        return Rollback(**json.loads(workspace.read(ROLLBACK) or b"null"))
    except (ValueError, TypeError):
        return None


def can_go_back(trainer: Trainer, point: int) -> bool:
    """Whether the checkpoint of the point is there; else the training would begin at step 0. All ranks ask."""
    trainer.saver.wait()
    return trainer.mesh.agreed(lambda: point == 0 or listed(trainer.workspace, checkpoint_name(point)) is not None)


def roll_back(trainer: Trainer, done: int, point: int) -> None:
    """Write down that the training goes on from step `point`, and raise BeginsAgain on all ranks."""
    made = Rollback(point, trainer.batch_of(done), count(trainer) + 1)
    if trainer.mesh.is_first:
        trainer.workspace.write(ROLLBACK, json.dumps(asdict(made)).encode())
        remove_later(trainer.workspace, point)
        trainer.log.emit(RolledBack(step=done, to=point, batch=made.batch, number=made.number))
    raise BeginsAgain(f"after step {done} the training goes back to step {point}")


def remove_later(workspace: Objects, step: int) -> None:
    """Remove the checkpoints after a step: a save would count them among those to keep."""
    for name in checkpoint_names(workspace):
        if step_of(name) > step:
            remove_checkpoint(workspace, name)
