"""Foreseeing a run: which steps would find their product in the store, and why the others would make theirs.

Each step's own body computes its recipe and looks for it in the store; the store of a foresight ends the body there. So
nothing is made, and the answer rests on the same code as the run. The user's files are read, since their content is
part of the recipe. If an input of a step would be made again, the step cannot be foreseen, because equal bytes give an
equal id.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from llm.config import RunConfig
from llm.runs.events import EventLog
from llm.runs.folder import run_folder
from llm.steps.step import Context, Given, Step
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
        raise _Found(self._last)

    def stage(self, kind: str, recipe: Recipe) -> NoReturn:
        raise _Missing(recipe)


@dataclass(frozen=True)
class Foreseen:
    """The prospect of a step."""

    words: str
    """As a user reads it: `reused: corpus 3f9a…`, `made again: config training.optimizer.lr …`."""
    product: Manifest | None = None
    """The product that it would reuse; None if it would do its work, or if that cannot be known."""


@contextmanager
def foresight(config: RunConfig, name: str) -> Iterator[Context]:
    """The context of a run that makes nothing and says nothing."""
    here = config.model_copy(update={"training": config.training.model_copy(update={"pool": None})})  # of the course
    with tempfile.TemporaryDirectory() as folder:
        log = EventLog(Path(folder) / "events.jsonl")
        yield Context(here, run_folder(config.run.folder, name), _DryStore(config.storage.uri), log)


def foresee(step: Step, context: Context, known: Given) -> Foreseen:
    """The prospect of a step, in the context of a `foresight`; `known` holds the products of earlier steps.

    Raises what the step would raise before its work, such as UserError for a missing file.
    """
    condition = f" (only if {step.only_if} says PASS)" if step.only_if else ""
    unknown = [source for source in step.reads if source not in known]
    if step.is_always_done:
        return Foreseen(f"done in every run{condition}")
    if unknown:
        return Foreseen(f"depends on the product of {' and '.join(unknown)}{condition}")
    try:
        manifest = step.body(context, {source: known[source] for source in step.reads})
    except _Found as found:
        if context.config.run.retrain:
            return Foreseen("made again: run.retrain=true")
        manifest = found.manifest
    except _Missing as missing:
        if not (why := why_made(step, missing.recipe, context.store, context.folder)):
            return Foreseen("made for the first time")
        return Foreseen(f"made again: {in_one_line(why)}")
    return Foreseen(f"reused: {manifest.kind} {manifest.id}", manifest)
