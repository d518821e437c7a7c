"""`gristmill runs`: what was run, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from llm.cli.options import names_and_root, overrides, runs_folder
from llm.errors import UserError
from llm.evaluation.words import column, quantity
from llm.runs.bucket import runs_to_read
from llm.runs.listing import RunSummary, list_runs
from llm.words import duration


@click.command("runs")
@overrides
@runs_folder()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def command(overrides: tuple[str, ...], root: str | None, as_json: bool) -> None:
    """List the runs, newest first: state, verdict, what was measured on held-out text, time.

    Runs of a cluster lie in the bucket of their store: `gristmill runs storage.uri=s3://BUCKET/PREFIX`.
    """
    names, root = names_and_root(overrides, root)
    if names:
        raise UserError(f"{names[0]} is not key=value", "`gristmill report NAME` shows one run.")
    runs = list_runs(runs_to_read(root))
    if as_json:
        click.echo(json.dumps([asdict(run) for run in runs], indent=1, default=str))
        return
    if not runs:
        click.echo(f"no runs in {root}; make one with `gristmill run pretrain`")
        return
    heads = _heads(runs)
    measured = "".join(f"{head:>{_width(head)}}" for head in heads.values())
    click.echo(f"{'run':28}{'state':14}{'verdict':14}{measured}{'time':>12}  started")
    for run in runs:
        values = {name: run.metrics[name].value if name in run.metrics else None for name in heads}
        figures = "".join(f"{quantity(value, ''):>{_width(heads[name])}}" for name, value in values.items())
        end = f"{run.state:14}{run.verdict or 'n/a':14}"
        click.echo(f"{run.name:28}{end}{figures}{duration(run.seconds):>12}  {run.started or 'n/a'}")


def _heads(runs: Sequence[RunSummary]) -> dict[str, str]:
    """The head of each metric's column, for every metric that a run has; the newest run's first."""
    heads: dict[str, str] = {}
    for run in runs:
        for name, score in run.metrics.items():
            if name not in heads or score.unit is not None:
                heads[name] = column(name, score.unit or "")
    return heads


def _width(head: str) -> int:
    return max(10, len(head) + 1)
