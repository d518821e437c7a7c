"""`gristmill STEP`: one step of a run, by hand."""

from __future__ import annotations

import json

import click

from llm.cli.options import overrides
from llm.config import compose
from llm.errors import GateNotPassed
from llm.steps import STEPS, figures, open_context, run_step
from llm.storage import Manifest, only_process_in


def command_for(name: str) -> click.Command:
    """The command of one step."""
    step = STEPS[name]
    reads = f" Reads what {', '.join(step.reads)} left there." if step.reads else ""

    @click.command(name, help=f"{step.purpose} {step.body.__doc__}\n\nWorks in the run folder that --run names.{reads}")
    @click.option("--run", "run", required=True, help="Name of the run; its folder is made if it is not there.")
    @overrides
    def command(run: str, overrides: tuple[str, ...]) -> None:
        context = open_context(compose([*overrides, f"run.name={run}"]))
        with only_process_in(context.folder.path):
            given = {
                source: context.folder.manifest(source, context.store.objects.uri)
                for source in step.reads
                if context.folder.manifest_path(source).is_file()
            }
            manifest = run_step(name, context, given)
        for figure, value in figures(manifest).items():
            click.echo(f"{figure} = {f'{value:,.0f}' if value.is_integer() else f'{value:g}'}")
        click.echo(f"{manifest.kind} {manifest.id} at {manifest.uri}")
        if step.verdict is not None:
            _end_as_judged(manifest)

    return command


def _end_as_judged(gate: Manifest) -> None:
    """Print the verdict in words; raises GateNotPassed unless it is PASS."""
    from llm.evaluation.gate.words import verdict_in_words
    from llm.storage.products import GateCounts

    headline, *reasons = verdict_in_words(json.loads(gate.file("gate.json").read_text(encoding="utf-8")))
    if GateCounts.of(gate).verdict != "PASS":
        raise GateNotPassed(headline, *reasons)
    click.echo("\n  ".join((headline, *reasons)))
