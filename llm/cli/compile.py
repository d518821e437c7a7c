"""`gristmill compile PIPELINE`: the package that Kubeflow Pipelines takes."""

from __future__ import annotations

from pathlib import Path

import click

from llm.cli.options import overrides
from llm.cli.run import load_pipeline
from llm.config import compose, to_yaml
from llm.errors import UserError


@click.command("compile")
@click.argument("pipeline")
@overrides
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write, *.yaml.")
def command(pipeline: str, overrides: tuple[str, ...], output: Path) -> None:
    """Compile PIPELINE with the given configuration as its default parameter."""
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(f"{output} must end in .yaml", "Kubeflow Pipelines knows a package by its ending.")
    config = compose(overrides)
    function = load_pipeline(pipeline)
    from kfp import compiler

    output.parent.mkdir(parents=True, exist_ok=True)
    named = config.model_copy(update={"run": config.run.model_copy(update={"name": config.run.name or pipeline})})
    compiler.Compiler().compile(function, str(output), pipeline_parameters={"config": to_yaml(named)})
    click.echo(f"{output}; next: kfp run create -e EXPERIMENT -f {output}")
