"""`gristmill compile PIPELINE`: the package that Kubeflow Pipelines takes."""

from __future__ import annotations

from pathlib import Path

import click

from llm.cli.options import overrides
from llm.cli.run import load_pipeline
from llm.config import compose
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
    from llm.images import unbuilt_warning
    from llm.kubernetes.submission.package import compile_package, for_a_cluster

    compile_package(function, for_a_cluster(pipeline, config), output)
    if (warning := unbuilt_warning()) is not None:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{output}; next: kfp run create -e EXPERIMENT -f {output}")
