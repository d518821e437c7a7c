"""`gristmill trainings`: what was begun to be trained and is not at its end."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from llm.cli.options import overrides
from llm.config import RunConfig, compose
from llm.storage import Store
from llm.training.checkpoint.find import step_of
from llm.training.guards import budget
from llm.training.identity import settings_of
from llm.training.unfinished import Unfinished, remove_unfinished, unfinished
from llm.words import in_one_line, local_time


@click.command("trainings")
@overrides
@click.option("--remove", "removed", multiple=True, metavar="TRAINING", help="Remove its checkpoints. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def command(overrides: tuple[str, ...], removed: tuple[str, ...], as_json: bool) -> None:
    """List the trainings in the store that are not at their end: step, last attempt, and how they differ.

    Below each are its device-hours (and money at training.budget.price), its checkpoints and why they are kept. A
    training that came to its end is listed while some are kept.

    A training goes on where the data, the model, the seed, the batch, the optimizer and the schedule are the same. The
    last column compares each with the settings given here. What `training.on_change` does with the rest is in
    docs/configuration.md.
    """
    config = compose(overrides)
    store = Store(config.storage.uri)
    for key in removed:
        remove_unfinished(store, key)
        click.echo(f"training {key} is removed", err=True)
    if removed:
        return
    found = sorted(unfinished(store), key=lambda one: -(one.record.time if one.record else 0))
    if as_json:
        click.echo(json.dumps([_document(one, config) for one in found], indent=1))
        return
    if not found:
        click.echo(f"no unfinished training in {store.objects.uri}")
        return
    click.echo(f"{'training':18}{'step':>9}  {'last attempt':27}{'run':24}compared with these settings")
    for one in found:
        run, time = (one.record.run, local_time(one.record.time)) if one.record else (None, None)
        step = "none" if one.step is None else f"{one.step:,}"
        click.echo(f"{one.key:18}{step:>9}  {time or 'n/a':27}{run or 'n/a':24}{_in_words(one, config)}")
        if one.device_seconds:
            click.echo(f"{'':27}  took {budget.in_words(one.device_seconds, config.training.budget)}")
        for name, why in one.kept.items():
            click.echo(f"{'':18}{step_of(name):>9,}  kept: {', '.join(why)}")


def _in_words(one: Unfinished, config: RunConfig) -> str:
    state = [*(["it runs now"] if one.is_running else []), *(["it came to its end"] if one.has_ended else [])]
    return in_one_line([*state, *(one.differences(settings_of(config.model, config.training)) or ["the same"])])


def _document(one: Unfinished, config: RunConfig) -> dict[str, object]:
    record = {} if one.record is None else {"run": one.record.run, "time": one.record.time}
    return {**asdict(one), "record": record, "differences": one.differences(settings_of(config.model, config.training))}
