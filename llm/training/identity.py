"""Which training it is, and whether it may go on after a change.

The *identity* names the place of the checkpoints: data, model, first weights, seed, batch, optimizer and schedule. The
*recipe* names the product: all of that, and the code, the libraries, the ranks and the length. So a training that was
cut off is found again after an update, and `training.on_change` says what becomes of it (in a folder; a store in S3 has
no lock between machines, so there the recipe names the checkpoints too):

    continue   it goes on; the log and the checkpoint say what changed, and at which step
    refuse     nothing is done; the error says what changed
    "anew"     the checkpoints are removed, and it starts at step 0

    <workspace>/recipe.json    the last attempt: run, time, and the parts of its recipe
    <workspace>/changes.json   every change so far: [{"step": 120, "changes": ["library torch 2.12.0 -> 2.13.0"]}]
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from llm.config import ModelConfig, TrainingConfig, deciding
from llm.errors import UserError
from llm.runs.event_kinds import TrainingChanged, Warned
from llm.runs.events import EventLog
from llm.storage import Manifest, Objects, Recipe
from llm.storage.recipe import Parts, changes
from llm.training.checkpoint.find import checkpoint_names, complete_names, remove_checkpoint, step_of
from llm.training.checkpoint.keep import ENDED
from llm.training.guards.budget import SPENT
from llm.training.guards.rollback import ROLLBACK
from llm.training.plan import STEPS, THREADS
from llm.words import in_one_line

RECIPE, CHANGES = "recipe.json", "changes.json"
MAY_CHANGE = ("length", "compute", "parallel", "validation", "batch.micro_batch_size")
"""Settings of `training` that are in the recipe and not in the identity."""


def training_identity(
    model: ModelConfig, training: TrainingConfig, shards: Manifest, tokenizer: Manifest, start: Manifest | None = None
) -> Recipe:
    """The recipe without all that may change while the training goes on; its key names the checkpoints."""
    settings = deciding(training)
    for name in MAY_CHANGE:
        *sections, last = name.split(".")
        part = settings
        for section in sections:
            part = part[section]
        del part[last]
    parents = [shards, tokenizer, *([] if start is None else [start])]
    return Recipe("training", {"model": deciding(model), "training": settings}, parents)


def settle(workspace: Objects, recipe: Recipe, training: TrainingConfig, log: EventLog) -> None:
    """Say what becomes of the checkpoints of this training that another recipe made, and keep the recipe.

    The caller holds the training's lock. Raises UserError with `refuse`, naming what changed.
    """
    made, before = complete_names(workspace), recorded(workspace)
    found = [str(change) for change in changes(before.parts, recipe.parts)] if before is not None else []
    if made and found:
        step, words = step_of(made[-1]), in_one_line(found)
        if training.on_change == "refuse":
            raise UserError(
                f"this training is at step {step}, and would go on with another recipe: {words}",
                "training.on_change=continue goes on nevertheless, and writes the change into the checkpoint;"
                " training.on_change=anew removes the checkpoints and starts at step 0.",
            )
        if training.on_change == "anew":
            log.emit(Warned(message=f"the checkpoints up to step {step} are removed: {words}"))
            for name in checkpoint_names(workspace):
                remove_checkpoint(workspace, name)
            for name in (SPENT, ROLLBACK):
                workspace.remove(name)
            made = []
        else:
            log.emit(TrainingChanged(step=step, changes=found))
            workspace.write(
                CHANGES, json.dumps([*changes_so_far(workspace), {"step": step, "changes": found}]).encode()
            )
    workspace.remove(ENDED)
    if not made:
        workspace.remove(CHANGES)
    if not made or any(line.startswith("config training.length.") for line in found):
        workspace.remove(STEPS)  # measured for another recipe
    if any(line.startswith("config training.parallel.") for line in found):
        for name in workspace.names(THREADS):
            workspace.remove(name)  # of the ranks that it had
    attempt = {"run": log.path.parent.name, "time": time.time(), "parts": recipe.parts}
    workspace.write(RECIPE, json.dumps(attempt, default=str).encode())


@dataclass(frozen=True)
class Record:
    """The last attempt at a training."""

    run: str
    """Name of the run."""
    time: float
    """When it began, in seconds since the epoch."""
    parts: Parts
    """The parts of its recipe."""


def recorded(workspace: Objects) -> Record | None:
    """The last attempt at a training; None if there is no record that can be read."""
    try:
        return Record(**json.loads(workspace.read(RECIPE) or b"null"))
    except (ValueError, TypeError):
        return None


def settings_of(model: ModelConfig, training: TrainingConfig) -> dict[str, Any]:
    """Settings of the model and the training by their keys, as the record of an attempt has them."""
    return Recipe("training", {"model": deciding(model), "training": deciding(training)}).parts["config"]


def changes_so_far(workspace: Objects) -> list[dict[str, Any]]:
    """Every change that the training went on after, with the step at which it did."""
    found: list[dict[str, Any]] = json.loads(workspace.read(CHANGES) or b"[]")
    return found
