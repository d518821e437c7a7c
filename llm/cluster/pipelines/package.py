"""A pipeline as the package that Kubeflow Pipelines takes: the same for `gristmill submit` and for `kfp run create`.

The resolved configuration is the package's default parameter: the package starts without any argument. It has the name
of the run, since the steps of a run find each other by that name: see `llm.runs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm.config import RunConfig, to_parameter
from llm.runs.folder import run_name, runs_of


def for_a_cluster(pipeline: str, config: RunConfig) -> RunConfig:
    """The same configuration, for steps that are pods: with a name for the run, and its folder in the store.

    The name is the given one, or the one that follows from the whole configuration.
    """
    changes = {"name": config.run.name or run_name(pipeline, config), "folder": runs_of(config)}
    return config.model_copy(update={"run": config.run.model_copy(update=changes)})


def compile_package(function: Callable[..., Any], config: RunConfig, path: Path) -> None:
    """Write a pipeline, with its configuration as the default parameter, to `path` (*.yaml)."""
    from kfp import compiler

    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(function, str(path), pipeline_parameters={"config": to_parameter(config)})
