"""`gristmill report`: where a run's report is."""

from __future__ import annotations

import click

from llm.cli.options import chosen_run, runs_folder


@click.command("report")
@click.argument("name", required=False)
@runs_folder()
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def command(name: str | None, root: str, opened: bool) -> None:
    """Write the report of run NAME, or of the latest run, again from what is there, and print its path."""
    from llm.report import write_report

    folder = chosen_run(root, name)
    write_report(folder)  # again: a run that was killed has an old report or none
    click.echo(folder.report.resolve())
    if opened and click.launch(folder.report.resolve().as_uri()) != 0:
        click.echo("no browser could be started; open the file above", err=True)
