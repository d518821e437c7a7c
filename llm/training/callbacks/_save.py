"""Checkpoints at fixed steps, at the end, and when the training is left."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llm.errors import UserError
from llm.runs.event_kinds import CheckpointSaved
from llm.training.callbacks._callback import Callback, StepDone
from llm.training.checkpoint.write import save_checkpoint

if TYPE_CHECKING:
    from llm.config.sections.training import CallbackConfig
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
            trainer.backend.state_dict(), trainer.history, states(trainer.added, trainer.config.callbacks),
            trainer.config.checkpoints.keep,
        )  # fmt: skip
        if trainer.rank == 0:
            trainer.log.emit(CheckpointSaved(step=step, seconds=round(time.perf_counter() - started, 3)))


def states(callbacks: Sequence[Callback], configs: Sequence[CallbackConfig]) -> list[dict[str, Any]]:
    """The state of each callback for a checkpoint; raises UserError for one that JSON cannot hold."""
    found = []
    for callback, config in zip(callbacks, configs, strict=True):
        state = callback.state()
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"training.callbacks: the state of {config.name} cannot be saved: {error}",
                "Let `state` return a dict of numbers, texts, lists and dicts.",
            ) from error
        found.append(state)
    return found
