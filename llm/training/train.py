"""The training step: from token shards to a checkpoint, going on where an earlier attempt stopped."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm.config import ModelConfig, TrainingConfig
from llm.storage import Manifest, Recipe, Store, disk_full, is_disk_full, only_process_in
from llm.tracking.events import EventLog
from llm.training.checkpoint import HISTORY, MODEL, newest_checkpoint, read_state
from llm.training.launch import launch
from llm.training.plan import TrainingPlan

CODE = ("llm.model", "llm.training", "llm.data.loader", "llm.data.shards")
NOT_IN_THE_RESULT = {"checkpoint_every_steps", "keep_checkpoints"}
"""Settings that change how a training is saved, not what comes out of it."""


def train(
    model: ModelConfig,
    training: TrainingConfig,
    shards: Manifest,
    tokenizer: Manifest,
    store: Store,
    log: EventLog,
    *,
    retrain: bool = False,
) -> Manifest:
    """Train to the last step and return the checkpoint; a finished one is returned as it is.

    `retrain` discards a finished training of this recipe; an unfinished one goes on. Raises Preempted after a stop,
    BusyError if another process trains this recipe, UserError for what the user must change.
    """
    decides = training.model_dump(mode="json", exclude=NOT_IN_THE_RESULT)
    libraries = ("torch", "deepspeed") if training.backend == "deepspeed" else ("torch",)
    recipe = Recipe(
        "training",
        {"model": model.model_dump(mode="json"), "training": decides},
        [shards, tokenizer],
        CODE,
        {name: version(name) for name in libraries},
    )
    folder = store.working_folder(recipe)
    with only_process_in(folder, wait_seconds=10):
        if (done := store.find(recipe)) is not None:
            if not retrain:
                _clear(folder)  # what a kill between publishing and clearing left
                return done
            store.forget(recipe)
            store.found.discard(done.id)
            _clear(folder)
        try:
            plan = TrainingPlan(
                model=model, training=training, shards=shards, vocab_size=int(tokenizer.counts["vocab_size"]),
                end_of_text=_end_of_text(shards), events=str(log.path.resolve()),
            )  # fmt: skip
            plan.write(folder)
            launch(folder, training.processes, lambda: _last_checkpoint(folder))
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(folder, error) from error
            raise
        manifest = _publish(plan, folder, recipe, store)
        _clear(folder)
        return manifest


def _last_checkpoint(folder: Path) -> str:
    """In words, where a training that was cut off goes on."""
    checkpoint, _ = newest_checkpoint(folder)
    return (
        "There is no checkpoint yet."
        if checkpoint is None
        else f"The last checkpoint is of step {read_state(checkpoint).step}."
    )


def _publish(plan: TrainingPlan, folder: Path, recipe: Recipe, store: Store) -> Manifest:
    """Make the last checkpoint a product: weights, config, history; nothing that says when or how fast."""
    checkpoint, _ = newest_checkpoint(folder)
    assert checkpoint is not None
    state = read_state(checkpoint)
    assert state.step == plan.steps(folder)
    lines = [json.loads(line) for line in (checkpoint / HISTORY).read_text().splitlines()]
    with store.stage("checkpoint", recipe) as stage:
        for name in (*MODEL, HISTORY):
            shutil.copyfile(checkpoint / name, stage.path / name)
        document = {"steps": state.step, "tokens": state.tokens, "sequence_length": plan.training.sequence_length}
        (stage.path / "training.json").write_text(json.dumps(document, indent=1) + "\n")
        losses = {name: _last(lines, name) for name in ("loss", "validation_loss")}
        return stage.commit({"steps": state.step, "tokens": state.tokens, **losses})


def _last(lines: list[dict[str, Any]], name: str) -> float | None:
    return next((line[name] for line in reversed(lines) if name in line), None)


def _end_of_text(shards: Manifest) -> int:
    return int(json.loads(shards.file("meta.json").read_text())["end_of_text"])


def _clear(folder: Path) -> None:
    """Drop checkpoints, then what they were planned with; the lock and the workers' log stay."""
    for path in sorted(folder.iterdir(), key=Path.is_file):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".json":
            path.unlink()
