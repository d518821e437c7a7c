"""`gristmill run PIPELINE`: a whole pipeline on this machine."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

from llm.cli.options import overrides
from llm.config import RunConfig, compose, nearest
from llm.errors import UserError

PIPELINES = ("pretrain",)


def load_pipeline(name: str, config: RunConfig) -> Callable[..., Any]:
    """The pipeline of that name, its pods as the configuration wants them; raises UserError with the nearest one."""
    if name not in PIPELINES:
        raise UserError(f"there is no pipeline {name}", nearest(name, PIPELINES))
    from llm.cluster.pipelines.quick_tasks import make_tasks_quick

    make_tasks_quick()  # the import below builds the pipeline once, `sized` once more
    pipeline = getattr(importlib.import_module(f"pipelines.{name}"), name)
    sized: Callable[..., Any] = importlib.import_module("pipelines.wiring").sized(pipeline, config)
    return sized


@click.command("run")
@click.argument("pipeline")
@overrides
@click.option("--retrain", is_flag=True, help="Train again, although this training was already finished.")
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="Run each step as a subprocess, or in a container of its image (`make images`).",
)
@click.option("--dry-run", is_flag=True, help="Print which steps would be reused or made again and why; do no work.")
def command(pipeline: str, overrides: tuple[str, ...], retrain: bool, runner: str, dry_run: bool) -> int:
    """Run PIPELINE (pretrain) on this machine, from text to a served model.

    A step whose recipe was done before is reused, and a run that was interrupted continues where it stopped. A step
    that is made again says which part of its recipe changed: a setting, an input, a library or a source of ours.
    """
    if pipeline not in PIPELINES:
        raise UserError(f"there is no pipeline {pipeline}", nearest(pipeline, PIPELINES))
    config = compose([*overrides, *(["run.retrain=true"] if retrain else [])], here=runner == "subprocess")
    if dry_run:
        from llm.runner.dry_run import dry_run as foresee

        for line in foresee(pipeline, config):
            click.echo(line)
        return 0
    function = load_pipeline(pipeline, config)
    from llm.runner import Containers, Subprocesses, run_locally
    from llm.runner.summary import summary

    steps = Containers() if runner == "docker" else Subprocesses()
    outcome = run_locally(function, pipeline, config, shlex.join(["gristmill", *sys.argv[1:]]), steps=steps)
    click.echo("\n".join(summary(outcome)))
    if outcome.message is not None:
        click.echo(f"error: {outcome.message}", err=True)
    return outcome.exit_code
