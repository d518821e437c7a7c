"""A run as its folder tells of it, here or in a bucket: for `status` and `logs` with `--runs`, without a cluster."""

from __future__ import annotations

import json

import click

from llm.cli.options import chosen_run
from llm.words import duration


def tell_status(root: str, name: str | None, *, as_json: bool) -> int:
    """Print the state of a run, its steps, and what came of it."""
    from llm.report.last_lines import last_lines, made
    from llm.runs.attempt import last_attempt
    from llm.runs.listing import summarise
    from llm.tracking.queue_words import state_in_queue

    folder = chosen_run(root, name)
    run, attempt = summarise(folder), last_attempt(folder.events)
    report = f"{root.rstrip('/')}/{folder.name}/report.html"
    steps = [{"name": step.name, "state": step.state, "seconds": step.seconds} for step in attempt.steps.values()]
    queue = state_in_queue(attempt.events)
    if as_json:
        document = {"run": run.name, "state": run.state, "seconds": run.seconds, "steps": steps, "queue": queue}
        click.echo(json.dumps({**document, **made(folder), "report": report}, indent=1))
        return 0
    click.echo(f"run {run.name} {run.state} after {duration(run.seconds)}")
    for step in attempt.steps.values():
        click.echo(f"  {step.name:14}{step.state:12}{duration(step.seconds):>10}")
    for line in queue:
        click.echo(f"  {'train':14}{line}")
    click.echo("\n".join(last_lines(folder, report)))
    return 0


def tell_log(root: str, name: str | None, step: str | None) -> int:
    """Print the lines that a run left: when each step ended, what it warned of, the verdict."""
    from llm.runs.attempt import last_attempt
    from llm.tracking.progress import lasting_line
    from llm.words import local_time

    for event in last_attempt(chosen_run(root, name).events).events:
        if step in (None, getattr(event, "step", None)) and (line := lasting_line(event)) is not None:
            click.echo(f"{local_time(event.time)}  {line}")
    return 0
