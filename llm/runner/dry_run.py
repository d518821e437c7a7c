"""The plan of a run, step by step, with reasons: `gristmill run --dry-run`.

Each step's own body computes its recipe and looks for it in the store; the store of a dry run ends the body there. So
nothing is made, and the answer rests on the same code as the run. The user's files are read, since their content is
part of the recipe. If an input of a step would be made again, the step cannot be foreseen, because equal bytes give an
equal id.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from llm.config import RunConfig
from llm.runner.preflight import offline_preflight
from llm.runs.events import EventLog
from llm.runs.folder import run_folder, run_name
from llm.steps import Context, Step, steps_of
from llm.steps.why import why_made
from llm.storage import Manifest, Recipe, Store
from llm.words import in_one_line


class _Missing(Exception):
    """The store has no product of this recipe: here the work would begin."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe


class _Found(Exception):
    """The store has the product, and the body would only tidy up."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__()
        self.manifest = manifest


class _DryStore(Store):
    """A store in which no work begins."""

    _last: Manifest

    def find(self, recipe: Recipe) -> Manifest:
        manifest = super().find(recipe)
        if manifest is None:
            raise _Missing(recipe)
        self._last = manifest
        return manifest

    def working_folder(self, recipe: Recipe) -> NoReturn:
        raise _Found(self._last)  # a folder is named by a training's identity, and its product was asked for before

    def stage(self, kind: str, recipe: Recipe) -> NoReturn:
        raise _Missing(recipe)


def dry_run(pipeline: str, config: RunConfig) -> Iterator[str]:
    """A line for each step: `ingest     reused: corpus 3f9a…`, `train      made again: config training.optimizer.lr …`.

    Raises what a run would raise before its first step without asking a server, and what a step would raise before its
    work, such as UserError for a missing file.
    """
    offline_preflight(config)
    name = config.run.name or run_name(pipeline, config)
    here = config.model_copy(update={"training": config.training.model_copy(update={"pool": None})})  # of the course
    known: dict[str, Manifest] = {}
    with tempfile.TemporaryDirectory() as folder:
        log = EventLog(Path(folder) / "events.jsonl")
        context = Context(here, run_folder(config.run.folder, name), _DryStore(config.storage.uri), log)
        for step in steps_of(pipeline):
            yield f"{step.name:<10} {_foreseen(step, context, known)}"


def _foreseen(step: Step, context: Context, known: dict[str, Manifest]) -> str:
    """A line on the step; a product that it would reuse goes into `known`."""
    condition = f" (only if {step.only_if} says PASS)" if step.only_if else ""
    unknown = [source for source in step.reads if source not in known]
    if step.is_always_done:
        return f"done in every run{condition}"
    if unknown:
        return f"depends on the product of {' and '.join(unknown)}{condition}"
    try:
        manifest = step.body(context, {source: known[source] for source in step.reads})
    except _Found as found:
        if context.config.run.retrain:
            return "made again: run.retrain=true"
        manifest = found.manifest
    except _Missing as missing:
        if not (why := why_made(step, missing.recipe, context.store, context.folder)):
            return "made for the first time"
        return f"made again: {in_one_line(why)}"
    known[step.name] = manifest
    return f"reused: {manifest.kind} {manifest.id}"
