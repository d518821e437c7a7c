"""Checkpoints at fixed steps, at the end, and when the training is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llm.runs.event_kinds import CheckpointSaved
from llm.training.callbacks._callback import Callback, StepDone
from llm.training.checkpoint.write import save_checkpoint

if TYPE_CHECKING:
    from llm.training.trainer import Trainer


class Save(Callback):
    """The last of all callbacks, so that a checkpoint holds the results of the others for the step."""

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Save, if it is time."""
        if done.number % trainer.config.checkpoints.every_steps == 0 or done.is_last or done.stop_requested:
            self.save(trainer, done.number)

    def save(self, trainer: Trainer, step: int) -> None:
        """Save now, together with all other ranks; raises UserError or ServiceError on all of them if one fails."""
        started = time.perf_counter()
        save_checkpoint(
            trainer.workspace, trainer.scratch, trainer.training_state(step), trainer.model, trainer.plan.end_of_text,
            trainer.backend.state_dict(), trainer.history, [callback.state() for callback in trainer.added],
            trainer.config.checkpoints.keep,
        )  # fmt: skip
        if trainer.rank == 0:
            trainer.log.emit(CheckpointSaved(step=step, seconds=round(time.perf_counter() - started, 3)))
