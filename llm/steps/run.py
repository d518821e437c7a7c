"""One step of a run: find its manifests, do the work or find it done, leave its manifest, say how it ended.

The command (`gristmill tokenize`) and the KFP component come through here, so a step behaves the same in both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress

from llm.config import RunConfig, mistake_in_named
from llm.errors import EXIT_FAULT, GristmillError, Preempted, UserError
from llm.process.stop import stoppable
from llm.runs.attempt import last_attempt
from llm.runs.event_kinds import StepExplained, StepFailed, StepFinished, StepStarted, StopRequested
from llm.runs.events import EventLog
from llm.runs.folder import run_folder
from llm.steps.registry import STEPS
from llm.steps.step import Context, Step
from llm.steps.usage import accounted
from llm.steps.why import record, why_made
from llm.storage import Manifest, Recipe, Store
from llm.storage.names import give_name


def open_context(config: RunConfig) -> Context:
    """The run folder, store and event log that a configuration names; raises UserError without a run name."""
    if config.run.name is None:
        raise UserError("the configuration names no run", "Set run.name, or let `gristmill run` make one.")
    folder = run_folder(config.run.folder, config.run.name)
    return Context(config, folder, Store(config.storage.uri), EventLog(folder.events))


def run_step(name: str, context: Context, given: Mapping[str, Manifest], *, alone: bool = True) -> Manifest:
    """Do one step with the given manifests; its own goes to the run folder. Raises the step's error.

    A step that is not `alone` shares its pod with others, and the whole is accounted, not the step.
    """
    step = STEPS[name]
    missing = [source for source in step.reads if source not in given]
    if missing:
        raise UserError(
            f"{name} needs the product of {', '.join(missing)}, and it is not there", f"Run {missing[0]} first."
        )
    _refuse_mixed_inputs(given)
    with stoppable():
        context.log.emit(StepStarted(step=name, pid=os.getpid()))
        started = time.monotonic()
        try:
            with accounted(name, context.config, context.log) if alone else nullcontext():
                if last_attempt(context.log.path).of_kind(StopRequested):
                    raise Preempted(f"stopped on request before {name}", "Run the same command again to go on.")
                with _explained(step, context):
                    manifest = _made_by(step, context, given)
                context.folder.keep(name, manifest)
        except BaseException as error:
            code = error.exit_code if isinstance(error, GristmillError) else EXIT_FAULT
            message = str(error) if isinstance(error, GristmillError) else f"{type(error).__name__}: {error}"
            with suppress(OSError):  # a full disk: what ended the step is worth more than this line
                context.log.emit(StepFailed(step=name, exit_code=code, message=message, seconds=_since(started)))
            raise
        reused = manifest.id in context.store.found
        context.log.emit(StepFinished(step=name, seconds=_since(started), reused=reused, manifest=manifest.id,
                                      product=manifest.uri, name=_named(manifest, context)))  # fmt: skip
    return manifest


def _made_by(step: Step, context: Context, given: Mapping[str, Manifest]) -> Manifest:
    """The step's product; raises UserError for an error of a module that a setting names."""
    try:
        return step.body(context, given)
    except (Exception, SystemExit) as error:
        if (mistake := mistake_in_named(error)) is not None:
            raise mistake from error
        raise


def _named(manifest: Manifest, context: Context) -> str | None:
    """The product's name that people can read; None for an outcome outside of the store.

    A name is for people: a store that does not take it does not fail the step.
    """
    if not manifest.files:
        return None
    with suppress(GristmillError, OSError):
        return give_name(context.store.objects, manifest.kind, manifest.id, context.folder.name)
    return None


@contextmanager
def _explained(step: Step, context: Context) -> Iterator[None]:
    """Say, as soon as the step looks for its product, whether it is there or which part of the recipe changed.

    At a good end the run keeps the parts of the recipes, to compare them next time.
    """
    sought: dict[str, Recipe] = {}

    def explain(recipe: Recipe, found: Manifest | None) -> None:
        if recipe.key in sought:  # a training on a pool looks again when it is done
            return
        sought[recipe.key] = recipe
        why = [] if found is not None else why_made(step, recipe, context.store, context.folder)
        context.log.emit(StepExplained(step=step.name, sought=recipe.step, reused=found is not None, why=why))

    context.store.on_find = explain
    try:
        yield
        for recipe in sought.values():
            record(context.folder, step, recipe)
    finally:
        context.store.on_find = None


def _refuse_mixed_inputs(given: Mapping[str, Manifest]) -> None:
    """Raise UserError if a given product was made from an input that is not the given input of the same kind."""
    for source, manifest in given.items():
        for read in STEPS[source].reads:
            made_from = [parent.id for parent in manifest.parents if read in given and parent.kind == given[read].kind]
            if made_from and given[read].id not in made_from:
                raise UserError(
                    f"the product of step {source} comes from another {given[read].kind} than step {read} made last",
                    f"Run {source} again.",
                )


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
