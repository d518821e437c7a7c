"""`gristmill rollback`: the previous champion again."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose


@click.command("rollback")
@overrides
def command(overrides: tuple[str, ...]) -> None:
    """Make the previous champion the champion again; `gristmill serve` then serves it."""
    config = compose(overrides)
    from llm.registry import rollback

    version = rollback(config.tracking, config.run)
    click.echo(f"version {version} of {config.tracking.model} is the champion again")
