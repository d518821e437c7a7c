"""`gristmill config`: the configuration that a command would use."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose, to_yaml


@click.command("config")
@overrides
def command(overrides: tuple[str, ...]) -> None:
    """Print the resolved configuration as YAML, every default spelled out."""
    click.echo(to_yaml(compose(overrides)), nl=False)
