"""The training step: from token shards to a checkpoint, going on where an earlier attempt stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from llm.config import ModelConfig, TrainingConfig
from llm.storage import Manifest, Recipe, Store, only_process_in, write_atomically
from llm.tracking.events import EventLog
from llm.training.checkpoint import newest_checkpoint, read_state, read_weights
from llm.training.launch import launch
from llm.training.plan import TrainingPlan

STEPS = "steps.json"
CODE = ("llm.model", "llm.training", "llm.data.loader", "llm.data.shards")
NOT_IN_THE_RESULT = ("checkpoint_every_steps", "keep_checkpoints")
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
    config = {"model": model.model_dump(mode="json"), "training": training.model_dump(mode="json")}
    decides = {"model": config["model"], "training": {k: v for k, v in config["training"].items() if k not in NOT_IN_THE_RESULT}}
    recipe = Recipe("training", decides, [shards, tokenizer], CODE)
    folder = store.working_folder(recipe)
    with only_process_in(folder, wait_seconds=10):
        if (done := store.find(recipe)) is not None and not retrain:
            return done
        if done is not None:
            store.forget(recipe)
            store.found.discard(done.id)
            _clear(folder)
        shards.verify()
        vocab_size, end_of_text = int(tokenizer.counts["vocab_size"]), _end_of_text(shards)
        plan = TrainingPlan(
            model=model, training=training, shards=shards, vocab_size=vocab_size, steps=None,
            events=str(log.path.resolve()),
        )  # fmt: skip
        steps = training.max_steps or _measured_steps(plan, folder, log)
        plan.model_copy(update={"steps": steps}).write(folder)
        launch(folder, training.processes)
        manifest = _publish(plan, steps, folder, recipe, store, end_of_text)
        _clear(folder)
        return manifest


def _measured_steps(plan: TrainingPlan, folder: Path, log: EventLog) -> int:
    """The number of steps that fit into `minutes`: measured once and kept, so that a resume has the same plan."""
    path = folder / STEPS
    if not path.is_file():
        log.emit("progress", step="train", message="measuring the speed of the first steps")
        plan.write(folder)
        steps = launch(folder, plan.training.processes).steps
        assert steps is not None
        write_atomically(path, json.dumps(steps))
    return int(json.loads(path.read_text()))


def _publish(
    plan: TrainingPlan, steps: int, folder: Path, recipe: Recipe, store: Store, end_of_text: int
) -> Manifest:
    """Make the last checkpoint a product: weights, config, history; nothing that says when or how fast."""
    from llm.model.weights import save_state

    checkpoint, _ = newest_checkpoint(folder)
    assert checkpoint is not None
    state = read_state(checkpoint)
    assert state.step == steps
    with store.stage("checkpoint", recipe) as stage:
        save_state(read_weights(checkpoint), plan.model, plan.vocab_size, stage.path, end_of_text)
        history = (checkpoint / "history.jsonl").read_text()
        (stage.path / "history.jsonl").write_text(history)
        lines = [json.loads(line) for line in history.splitlines()]
        document = {"steps": steps, "tokens": state.tokens, "sequence_length": plan.training.sequence_length}
        (stage.path / "training.json").write_text(json.dumps(document, indent=1) + "\n")
        counts = {
            "steps": steps,
            "tokens": state.tokens,
            "loss": next(line["loss"] for line in reversed(lines) if "loss" in line),
            "validation_loss": next((line["validation_loss"] for line in reversed(lines) if "validation_loss" in line), None),
        }  # fmt: skip
        return stage.commit(counts)


def _end_of_text(shards: Manifest) -> int:
    return int(json.loads(shards.file("meta.json").read_text())["end_of_text"])


def _clear(folder: Path) -> None:
    """Drop checkpoints and plan of a finished training; the lock and the workers' log stay."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".json":
            path.unlink()
