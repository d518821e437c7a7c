"""Checkpoints at fixed steps, at the end, and when the training is left."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llm.errors import UserError
from llm.runs.event_kinds import CheckpointSaved
from llm.training.callbacks._callback import Callback, StepDone
from llm.training.checkpoint import keep
from llm.training.checkpoint.find import TrainingState
from llm.training.checkpoint.weights import shards_of
from llm.training.checkpoint.write import Snapshot, write_checkpoint

if TYPE_CHECKING:
    from llm.config.sections.training import CallbackConfig
    from llm.training.trainer import Trainer


class Save(Callback):
    """The last of all callbacks, so that a checkpoint holds the results of the others for the step."""

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """When it saves."""
        return keep.is_due(done, trainer.config)

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Save, if it is time; the training goes on meanwhile, unless it ends here."""
        if self.needs_state(trainer, done.number) or done.is_last or done.stop_requested:
            with trainer.checkpoint_wait:
                self.begin(trainer, done.number)
        if done.is_last or done.stop_requested:
            trainer.saver.wait()

    def save(self, trainer: Trainer, step: int) -> None:
        """Save and wait for it, together with all other ranks; raises UserError or ServiceError on all of them."""
        self.begin(trainer, step)
        trainer.saver.wait()

    def begin(self, trainer: Trainer, step: int) -> None:
        """Copy what is to be saved, and let a thread write it."""
        started = time.perf_counter()
        snapshot = Snapshot.take(
            trainer.backend, shards_of(trainer.plan.model, trainer.plan.vocab_size), state_of(trainer, step),
            trainer.history, states(trainer.added, trainer.config.callbacks),
        )  # fmt: skip

        def write() -> None:
            if trainer.mesh.is_first:
                trainer.budget.keep(trainer.workspace)
            write_checkpoint(trainer.workspace, trainer.scratch, trainer.plan, snapshot, trainer.saver.group)
            if trainer.mesh.is_first:
                trainer.log.emit(CheckpointSaved(step=step, seconds=round(time.perf_counter() - started, 3)))

        trainer.saver.begin(write)


def state_of(trainer: Trainer, step: int) -> TrainingState:
    """How far a checkpoint after this many steps is."""
    config, mesh = trainer.config, trainer.mesh
    tokens, backend = config.batch.tokens_before(step), config.parallel.backend.name
    return TrainingState(step, tokens, mesh.ranks, backend, list(trainer.rolled_back))


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
