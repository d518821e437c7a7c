"""`gristmill runs`: what was run, and how it ended."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from llm.cli.options import runs_folder
from llm.runs.listing import list_runs


@click.command("runs")
@runs_folder()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def command(root: str, as_json: bool) -> None:
    """List the runs, newest first: state, verdict, held-out bits per byte, time."""
    runs = list_runs(Path(root))
    if as_json:
        click.echo(json.dumps([asdict(run) for run in runs], indent=1, default=str))
        return
    if not runs:
        click.echo(f"no runs in {root}; make one with `gristmill run pretrain`")
        return
    click.echo(f"{'run':28}{'state':14}{'verdict':14}{'bits/byte':>10}{'time':>9}  started")
    for run in runs:
        bits = "n/a" if run.bits_per_byte is None else f"{run.bits_per_byte:.3f}"
        seconds = "n/a" if run.seconds is None else f"{run.seconds:.0f} s"
        click.echo(
            f"{run.name:28}{run.state:14}{run.verdict or 'n/a':14}{bits:>10}{seconds:>9}  {run.started or 'n/a'}"
        )
