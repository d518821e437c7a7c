"""The search for products before the first step of a run in a cluster.

A step's pod costs about 20 s even if its product is in the store. So the first task walks the path in one pod. Where
every step finds its product, the run is done with that, and no other pod starts. Where one would have work to do, the
walk ends, and all steps run in their own pods, as without it. See docs/decisions/0012-cheap-reuse.md.

Each step is done by its own body, as everywhere, with a store in which no long work begins. The run's log
gets nothing of the walk before every product was found: until then another attempt at the same steps may follow.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llm.errors import GristmillError, Preempted
from llm.images import libraries
from llm.runs.event_kinds import StepExplained
from llm.runs.events import EventLog
from llm.steps.outcome import refused
from llm.steps.registry import steps_of
from llm.steps.run import run_step
from llm.steps.step import Context, Given, Step
from llm.storage import Manifest, Recipe, Store
from llm.storage.recipe import pinned
from llm.words import in_one_line


class WorkLeft(GristmillError):
    """The steps have to run: one of them has work to do, or it cannot be known whether it has."""


class _SearchedStore(Store):
    """A store in which only the work of quick steps begins."""

    def __init__(self, uri: str, quick: Sequence[str]) -> None:
        super().__init__(uri)
        self._quick = quick

    def find(self, recipe: Recipe) -> Manifest | None:
        manifest = super().find(recipe)
        if manifest is None and recipe.step not in self._quick:
            raise WorkLeft("there is no product")
        return manifest


def reuse(pipeline: str, context: Context) -> bool:
    """Do a whole pipeline whose products are all in the store; False if its steps must run, with the reason in the log.

    A mistake of the user is left to the step that finds it. Raises the error of a step whose outcome is in a service,
    and Preempted for a stop.
    """
    try:
        _walk(steps_of(pipeline), context)
    except WorkLeft as left:
        sys.stderr.write(f"the steps begin: {left}\n")
        return False
    return True


def _walk(steps: Sequence[Step], context: Context) -> None:
    """Do every step; raises WorkLeft at the first with work to do."""
    if context.config.run.retrain:
        raise WorkLeft("run.retrain=true")
    store = _SearchedStore(context.config.storage.uri, [step.name for step in steps if step.is_quick])
    told = replace(context, store=store)
    known: dict[str, Manifest] = {}
    with tempfile.TemporaryDirectory() as folder:
        untold = replace(told, log=EventLog(Path(folder) / "events.jsonl"))
        for step in steps:
            given = {source: known[source] for source in step.reads}
            if step.is_always_done:
                _tell(untold.log, told.log)
                known[step.name] = run_step(step.name, told, given, alone=False)
            else:
                known[step.name] = _found(step, untold, given)
        _tell(untold.log, told.log)


def _found(step: Step, context: Context, given: Given) -> Manifest:
    """The product of a step; raises WorkLeft if it is not there, or if the step judged and did not say PASS."""
    try:
        with pinned(libraries(step.image)):
            manifest = run_step(step.name, context, given, alone=False)
    except WorkLeft as left:
        why = [words for event in context.log.of_kind(StepExplained) if event.step == step.name for words in event.why]
        raise WorkLeft(f"{step.name}: {in_one_line(why) if why else left}") from left
    except Preempted:
        raise
    except Exception as error:  # a search ends no run: the step itself meets the same, and says it in its place
        raise WorkLeft(f"{step.name}: {in_one_line([str(error)])}") from error
    if refused(step, manifest):
        raise WorkLeft(f"{step.name} does not say PASS")  # the run shows it by the steps that are left out
    return manifest


def _tell(untold: EventLog, log: EventLog) -> None:
    """Move the events of the search so far into the run's log."""
    for event in untold.read():
        log.emit(event)
    untold.path.unlink(missing_ok=True)
