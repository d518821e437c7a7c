"""The steps of a pipeline as tasks of Kubeflow Pipelines: wired by the names of their inputs and products.

KFP's cache is off for every task, because it does not see the user's files and our code. The store finds the products
that need not be made again, and its recipes cannot be stale. In a cluster a first task looks for all of them
(`llm.steps.reuse`), if the images are named by their digests: then it knows what is in them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any

from kfp import dsl

from components import images
from components.environment import with_environment
from components.pod import with_pod
from components.report import report
from components.reuse import reuse
from llm.config import RunConfig
from llm.images import TRAIN_IMAGE, cuda_image
from llm.steps import STEPS, Step
from llm.steps.pods import REPORT, REUSE, check_pods

TRAIN = "train"
_FOR: ContextVar[RunConfig | None] = ContextVar("configuration of the pods", default=None)


def sized(pipeline: Any, config: RunConfig) -> Any:
    """The pipeline again, with the pods of its steps as the configuration wants them.

    KFP fixes the sizes of pods when it compiles. Raises UserError for sizes that do not fit the steps.
    """
    check_pods(config)
    before = _FOR.set(config)
    try:
        return dsl.pipeline(name=pipeline.name, description=pipeline.description)(pipeline.pipeline_func)
    finally:
        _FOR.reset(before)


def reported(config: str) -> dsl.ExitHandler:
    """The group of all steps, after which the report is written whatever happened."""
    return dsl.ExitHandler(_as_pod(report(config=config), REPORT), name="reported")


@contextmanager
def unless_reused(pipeline: str, config: str) -> Iterator[None]:
    """The group of all steps, left out in a cluster if every product is there."""
    if _FOR.get() is None or not images.ARE_PINNED:
        yield
        return
    with dsl.If(_as_pod(reuse(config=config, pipeline=pipeline), REUSE).output == 1, name="changed"):
        yield


def wire(steps: Iterable[Step], config: str) -> None:
    """Make a task of each step; steps that follow a verdict are left out unless it is PASS."""
    tasks: dict[str, dsl.PipelineTask] = {}
    ordered = sorted(steps, key=lambda step: step.only_if is not None)  # stable: the order of the path stays
    for judge, group in groupby(ordered, key=lambda step: step.only_if):
        if judge is None:
            _add(group, config, tasks)
            continue
        # A whole number named Output: KFP's local runner (2.17) resolves no other name in a condition, and takes what
        # it cannot resolve for False.
        with dsl.If(tasks[judge].outputs["Output"] == 1, name="passed"):
            _add(group, config, tasks)


def _add(steps: Iterable[Step], config: str, tasks: dict[str, dsl.PipelineTask]) -> None:
    for step in steps:
        component = getattr(importlib.import_module(f"components.{step.name}"), step.name)
        made = {STEPS[source].makes.name: tasks[source].outputs[STEPS[source].makes.name] for source in step.reads}
        task = _as_pod(component(config=config, **made), step.name)
        tasks[step.name] = task.after(*(tasks[name] for name in step.after))


def _as_pod(task: dsl.PipelineTask, step: str) -> dsl.PipelineTask:
    config = _FOR.get() or RunConfig()
    if step == TRAIN and config.training.compute.device == "cuda" and (image := cuda_image()) is not None:
        task.set_env_variable(TRAIN_IMAGE, image)  # of the pods of a pool; the step's own has no CUDA
    return with_pod(with_environment(task.set_caching_options(False)), step, config.pods.of(step), config.cluster)
