"""`gristmill report`: where a run's report is."""

from __future__ import annotations

import click

from llm.cli.options import chosen_run, names_and_root, only_name, runs_folder


@click.command("report")
@click.argument("arguments", nargs=-1, metavar="[NAME] [KEY=VALUE]...")
@runs_folder()
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
def command(arguments: tuple[str, ...], root: str | None, opened: bool) -> None:
    """Write the report of run NAME, or of the latest run, again from what is there, and print its path.

    A run of a cluster is read from the bucket of its store: `gristmill report NAME storage.uri=s3://BUCKET/PREFIX`.
    """
    from llm.report import write_report

    names, root = names_and_root(arguments, root)
    folder = chosen_run(root, only_name(names))
    write_report(folder)  # again: a run that was killed has an old report or none
    click.echo(folder.report.resolve())
    if opened and click.launch(folder.report.resolve().as_uri()) != 0:
        click.echo("no browser could be started; open the file above", err=True)
