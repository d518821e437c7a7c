"""The training step: from token shards to a checkpoint, going on where an earlier attempt stopped.

The ranks run here, or where `elsewhere` takes the plan: to the pods of a TrainJob (`llm.cluster.trainjobs`). The
recipe is the same either way, and so is the product.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from llm.config import ModelConfig, TrainingConfig, deciding
from llm.errors import GristmillError
from llm.runs import last_attempt
from llm.runs.event_kinds import Progress, StepFinished, TrainingDiscarded
from llm.runs.events import EventLog
from llm.storage import Manifest, Objects, Recipe, Store, disk_full, is_disk_full, only_process_in
from llm.storage.products import CheckpointCounts
from llm.storage.recipe import changes
from llm.training.checkpoint import history, keep
from llm.training.checkpoint.find import HISTORY, newest_checkpoint
from llm.training.guards.budget import SPENT
from llm.training.identity import CHANGES, RECIPE, changes_so_far, recorded, settle, training_identity
from llm.training.launch import Node, command_to_join, first_of_several, launch, this_machine_alone
from llm.training.plan import PLAN, STEPS, TrainingPlan

Elsewhere = Callable[[str], None]
"""Runs the plan at a URI to its end on other machines, and raises the errors of their ranks."""


def train(
    model: ModelConfig,
    training: TrainingConfig,
    shards: Manifest,
    tokenizer: Manifest,
    store: Store,
    log: EventLog,
    *,
    retrain: bool = False,
    elsewhere: Elsewhere | None = None,
    start: Manifest | None = None,
) -> Manifest:
    """Train to the last step and return the checkpoint; a finished one is returned as it is.

    `retrain` discards a finished training of this recipe, unless it was made since this attempt at the run discarded
    one: a launcher in place of a lost one takes over its work. An unfinished one goes on, as `training.on_change` says
    (`llm.training.identity`). Raises Preempted after a stop, BusyError if another process does this training, UserError
    for a fault that the user must correct. The weights start from those of the checkpoint `start`, if there is one.
    """
    assert (start is None) == (training.start_from is None), "whoever reads the setting finds the checkpoint"
    recipe = training_recipe(model, training, shards, tokenizer, start)
    store.find(recipe)  # before any folder is made: whoever only asks whether it is there learns it here
    # In S3 no lock holds between machines: two trainings of one identity would write into one place.
    place = recipe if store.is_remote else training_identity(model, training, shards, tokenizer, start)
    folder, workspace = store.working_folder(place), store.working_objects(place)
    with only_process_in(folder, wait_seconds=10):
        if (done := store.find(recipe)) is not None:
            if retrain:
                store.found.discard(done.id)  # made in this attempt, or to be made
            if not retrain or _was_discarded(log, recipe):
                if (record := recorded(workspace)) is not None and not changes(record.parts, recipe.parts):
                    _clear(folder, workspace, store)  # what a kill between publishing and clearing left
                return done
            log.emit(TrainingDiscarded(recipe=recipe.key))
            store.forget(recipe)
            _clear(folder, workspace, store, all_of_it=True)
        settle(workspace, recipe, training, log)
        plan = TrainingPlan(
            model=model, training=training, shards=shards, tokenizer=tokenizer, start=start,
            end_of_text=_end_of_text(shards), store=store.objects.uri, workspace=workspace.uri, recipe=recipe.key,
            events=str(log.path.resolve()),
        )  # fmt: skip
        if elsewhere is None:
            manifest = run_here(plan, folder, _first_node(plan, workspace, log))
            assert manifest is not None
        else:
            manifest = _run_elsewhere(plan, workspace, recipe, store, elsewhere)
        _clear(folder, workspace, store)
        return manifest


def _was_discarded(log: EventLog, recipe: Recipe) -> bool:
    """Whether this attempt at the run discarded the earlier result, and has not ended the training since."""
    for event in reversed(last_attempt(log.path).events):
        if isinstance(event, StepFinished) and event.step == "train":
            return False
        if isinstance(event, TrainingDiscarded) and event.recipe == recipe.key:
            return True
    return False


def run_here(plan: TrainingPlan, folder: Path, node: Node) -> Manifest | None:
    """Run this node's ranks to the end; node 0 publishes the checkpoint and returns it, the others return None."""
    workspace = plan.objects
    try:
        plan.write(folder)
        launch(
            folder, workspace, node, plan.training.parallel.processes, lambda: _last_checkpoint(workspace),
            plan.training.guards.hang_seconds, EventLog(plan.events),
        )  # fmt: skip
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(folder, error) from error
        raise
    if node.number:
        return None
    recipe = training_recipe(plan.model, plan.training, plan.shards, plan.tokenizer, plan.start)
    return _publish(plan, folder, recipe, Store(plan.store))


def training_recipe(
    model: ModelConfig, training: TrainingConfig, shards: Manifest, tokenizer: Manifest, start: Manifest | None = None
) -> Recipe:
    """All that decides what a training makes, the libraries' versions on this machine included."""
    return Recipe(
        "training",
        {"model": deciding(model), "training": deciding(training)},
        [shards, tokenizer, *([] if start is None else [start])],
        code=(__name__, *training.modules),
    )


def _first_node(plan: TrainingPlan, workspace: Objects, log: EventLog) -> Node:
    """This machine; where it is one of several, it puts the plan where the others find it, and says how."""
    parallel = plan.training.parallel
    if parallel.nodes == 1:
        return this_machine_alone()
    workspace.write(PLAN, plan.document())
    command = command_to_join(parallel, f"{workspace.uri}/{PLAN}")
    words = f"waits for {parallel.nodes - 1} other machines; on each, with its number (1, 2, …) for N: {command}"
    log.emit(Progress(step="train", message=words))
    return first_of_several(parallel)


def _run_elsewhere(
    plan: TrainingPlan, workspace: Objects, recipe: Recipe, store: Store, elsewhere: Elsewhere
) -> Manifest:
    workspace.write(PLAN, plan.document())
    elsewhere(f"{workspace.uri}/{PLAN}")
    manifest = store.find(recipe)
    if manifest is None:
        raise GristmillError(f"the training ended well, and {store.objects.uri} has no checkpoint of it")
    store.found.discard(manifest.id)  # it was made now, only not by us
    return manifest


def _last_checkpoint(workspace: Objects) -> str:
    """In words, the step from which a training that was cut off continues."""
    checkpoint, _ = newest_checkpoint(workspace)
    return (
        "There is no checkpoint yet."
        if checkpoint is None
        else f"The last checkpoint is of step {checkpoint.state().step}."
    )


def _publish(plan: TrainingPlan, folder: Path, recipe: Recipe, store: Store) -> Manifest:
    """Make the last checkpoint a product: weights, config, history; nothing that says when or how fast."""
    checkpoint, _ = newest_checkpoint(plan.objects)
    assert checkpoint is not None
    state = checkpoint.state()
    assert state.step == plan.steps()
    with store.stage("checkpoint", recipe) as stage:
        for name in checkpoint.model_files():
            shutil.copyfile(checkpoint.fetch(name, folder / ".fetched"), stage.path / name)
        lines = checkpoint.history()
        (stage.path / HISTORY).write_bytes(b"".join(line + b"\n" for line in checkpoint.history_lines()))
        document: dict[str, Any] = {
            "steps": state.step, "tokens": state.tokens, "sequence_length": plan.training.batch.sequence_length,
        }  # fmt: skip
        if changed := changes_so_far(plan.objects):
            document["changes"] = changed
        (stage.path / "training.json").write_text(json.dumps(document, indent=1) + "\n")
        losses = {name: _last(lines, name) for name in ("loss", "validation_loss")}
        return stage.commit(CheckpointCounts(steps=state.step, tokens=state.tokens, **losses))


def _last(lines: list[dict[str, Any]], name: str) -> float | None:
    return next((line[name] for line in reversed(lines) if name in line), None)


def _end_of_text(shards: Manifest) -> int:
    return int(json.loads(shards.file("meta.json").read_text())["end_of_text"])


def _clear(folder: Path, workspace: Objects, store: Store, *, all_of_it: bool = False) -> None:
    """Remove the checkpoints that are not kept for good, then the plan; the lock and the log of the workers stay."""
    kept = [] if all_of_it else keep.end(workspace)
    stay = {*kept, history.FOLDER, RECIPE, CHANGES, STEPS, SPENT, keep.KEPT, keep.ENDED} if kept else set()
    for path in sorted(folder.iterdir(), key=Path.is_file):
        if path.name in stay:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".json":
            with suppress(PermissionError):  # another user's, who trained this and was killed before this
                path.unlink()
    if store.is_remote:
        for name in workspace.names():
            if name.partition("/")[0] not in stay:
                workspace.remove(name)
