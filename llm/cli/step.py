"""`gristmill STEP`: one step of a run, by hand."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose
from llm.steps import STEPS, figures, open_context, run_step
from llm.storage import Manifest, only_process_in


def command_for(name: str) -> click.Command:
    """The command of one step."""
    step = STEPS[name]
    reads = f" Reads what {', '.join(step.reads)} left there." if step.reads else ""

    @click.command(name, help=f"{step.purpose}\n\nWorks in the run folder that --run names.{reads}")
    @click.option("--run", "run", required=True, help="Name of the run; its folder is made if it is not there.")
    @overrides
    def command(run: str, overrides: tuple[str, ...]) -> None:
        context = open_context(compose([*overrides, f"run.name={run}"]))
        with only_process_in(context.folder.path):
            given = {
                source: Manifest.read(context.folder.manifest_path(source))
                for source in step.reads
                if context.folder.manifest_path(source).is_file()
            }
            manifest = run_step(name, context, given)
        for figure, value in figures(manifest).items():
            click.echo(f"{figure} = {value:g}")
        click.echo(f"{manifest.kind} {manifest.id} at {manifest.uri}")

    return command
