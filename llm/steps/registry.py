"""The list of the steps: every module of `llm.steps.bodies` holds one; their order follows from what they wait for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from graphlib import TopologicalSorter

from llm.steps import bodies
from llm.steps.step import Step


def in_order(steps: Iterable[Step]) -> dict[str, Step]:
    """The steps by name, each after all that it waits for, and by name where that leaves a choice.

    Raises ValueError for a step that waits for one that is not there, or for itself.
    """
    by_name = {step.name: step for step in sorted(steps, key=lambda step: step.name)}
    for step in by_name.values():
        if missing := set(step.waits_for) - set(by_name):
            raise ValueError(f"step {step.name} waits for {', '.join(sorted(missing))}, and there is no such step")
    order = TopologicalSorter({step.name: step.waits_for for step in by_name.values()}).static_order()
    return {name: by_name[name] for name in order}


def _found() -> Iterable[Step]:
    for module in pkgutil.iter_modules(bodies.__path__, f"{bodies.__name__}."):
        step = importlib.import_module(module.name).STEP
        assert isinstance(step, Step), f"{module.name}.STEP is not a Step"
        yield step


STEPS = in_order(_found())
"""All steps, in the order of the path."""


def steps_of(pipeline: str) -> list[Step]:
    """The steps of a pipeline, in order; none for a pipeline that we do not know."""
    return [step for step in STEPS.values() if pipeline in step.pipelines]
