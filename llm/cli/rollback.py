"""`gristmill rollback`: the previous champion again."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose


@click.command("rollback")
@overrides
@click.option(
    "--no-champion",
    is_flag=True,
    help="Start again without a champion: the next candidate is held against the floors. No version is deleted.",
)
def command(overrides: tuple[str, ...], no_champion: bool) -> None:
    """Make the previous champion the champion again; `gristmill serve` then serves it."""
    config = compose(overrides)
    from llm.registry import forget_champion, rollback

    if no_champion:
        before = forget_champion(config.tracking, config.run)
        was = "" if before is None else f"; it was version {before}"
        click.echo(f"{config.tracking.model} has no champion now{was}. The next candidate is held against the floors.")
        return
    version = rollback(config.tracking, config.run)
    click.echo(f"version {version} of {config.tracking.model} is the champion again")
