"""`gristmill compile PIPELINE`: the package that Kubeflow Pipelines takes."""

from __future__ import annotations

from pathlib import Path

import click

from llm.cli.options import overrides
from llm.cli.run import load_pipeline
from llm.config import RunConfig, compose
from llm.errors import UserError


@click.command("compile")
@click.argument("pipeline")
@overrides
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write, *.yaml.")
def command(pipeline: str, overrides: tuple[str, ...], output: Path) -> None:
    """Compile PIPELINE with the given configuration as its default parameter."""
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(f"{output} must end in .yaml", "Kubeflow Pipelines knows a package by its ending.")
    config = compose(overrides, here=False)
    function = load_pipeline(pipeline, config)
    from llm.cluster.pipelines.package import compile_package, for_a_cluster
    from llm.cluster.pipelines.pods.preflight import check_secrets
    from llm.images import unbuilt_warnings

    config = for_a_cluster(pipeline, config)
    check_secrets(config)
    compile_package(function, config, output)
    for warning in [*_doubts(config), *unbuilt_warnings(config.training.compute.device)]:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{output}; next: kfp run create -e EXPERIMENT -f {output}")


def _doubts(config: RunConfig) -> list[str]:
    """The reason why its steps cannot run as pods. It is no error: a package may be started with other values."""
    from llm.cluster.pipelines.pods.preflight import pod_preflight

    try:
        return pod_preflight(config)
    except UserError as error:
        return [str(error)]
