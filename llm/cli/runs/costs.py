"""`gristmill costs [RUN]`: the ledger of one run or of all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from llm.cli.options import chosen_run, names_and_root, only_name, runs_folder
from llm.config import compose
from llm.errors import UserError
from llm.runs.accounts import account_of, with_prices
from llm.runs.bucket import runs_to_read
from llm.runs.folder import all_runs
from llm.runs.ledger import Account, By, Row, rows, total
from llm.words import hours, money

NO_TEAM = "(no team)"
PRICES, PLACES = "costs.", ("storage.", "run.")
ACCELERATOR = "GPU"
"""Head of the column where no run had an accelerator."""


@click.command("costs")
@click.argument("arguments", nargs=-1, metavar="[RUN] [KEY=VALUE]...")
@runs_folder()
@click.option("--by", type=click.Choice(["run", "step", "team"]), help="One line a run, step or team; with RUN: step.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, in seconds, instead of a table in hours.")
def command(arguments: tuple[str, ...], root: str | None, by: By | None, as_json: bool) -> None:
    """Print the hours of processors, GiB of memory and accelerators that RUN or all runs held, and what they cost.

    A pod counts from the start of its container to its end, with all that it asked for, over all attempts and
    restarts. The runs of a cluster are in S3: --runs s3://BUCKET/PREFIX/runs. Prices are those of each run's own
    configuration; costs.cpu_hour=0.04 and the other keys of costs replace them here.
    """
    if wrong := [one for one in arguments if "=" in one and not one.startswith((PRICES, *PLACES))]:
        raise UserError(f"{wrong[0]} is no price", "Here go prices, such as costs.cpu_hour=0.04, and storage.uri.")
    prices = _prices(arguments)
    names, root = names_and_root([one for one in arguments if not one.startswith(PRICES)], root)
    name = only_name(names, "; without a name all are listed")
    accounts = [with_prices(account, prices) for account in _accounts(root, name)]
    if not accounts and not as_json:
        click.echo(f"no runs in {root}; make one with `gristmill run pretrain`")
        return
    lines = rows(accounts, by or ("run" if name is None else "step"))
    if as_json:
        document = {"rows": [asdict(line) for line in lines], "total": asdict(total(accounts))}
        click.echo(json.dumps(document, indent=1))
        return
    for line in _table(lines, total(accounts)):
        click.echo(line)


def _prices(arguments: Sequence[str]) -> dict[str, Any]:
    """The prices that the arguments set."""
    overrides = [argument for argument in arguments if argument.startswith(PRICES)]
    costs = compose(overrides).costs
    return {key: getattr(costs, key) for key in (one.partition("=")[0].split(".")[1] for one in overrides)}


def _accounts(root: str, name: str | None) -> list[Account]:
    if name is not None:
        return [account_of(chosen_run(root, name))]
    return [account_of(folder) for folder in all_runs(runs_to_read(root))]


def _table(lines: Sequence[Row], sum_of_all: Row) -> list[str]:
    """The rows, the total, and the notes below; a row with notes has a star."""
    resources = sorted(sum_of_all.accelerator_seconds) or [ACCELERATOR]
    shows_money = any(line.currency is not None for line in [*lines, sum_of_all])
    named = [(_name(line), line) for line in [*lines, sum_of_all]]
    width = max(len(name) for name, _ in named) + 4
    heads = ["CPU hours", "GiB hours", *(f"{one} hours" for one in resources), *(["cost"] if shows_money else [])]
    table = [f"{'':{width}}" + "".join(f"{head:>{_width(head)}}" for head in heads)]
    for name, line in named:
        star = "*" if line.notes and line is not sum_of_all else ""
        figures = [hours(line.cpu_seconds), hours(line.gib_seconds),
                   *(hours(line.accelerator_seconds.get(one, 0.0)) for one in resources), _money(line)]  # fmt: skip
        cells = "".join(f"{figure:>{_width(head)}}" for head, figure in zip(heads, figures, strict=False))
        table.append(f"{name + star:{width}}{cells}")
    notes = [f"* {name}: {note}" for name, line in named if line is not sum_of_all for note in line.notes]
    return [*table, *notes, *(f"total: {note}" for note in _of_the_total_alone(lines, sum_of_all))]


def _of_the_total_alone(lines: Sequence[Row], sum_of_all: Row) -> list[str]:
    """The notes on the money and on damaged runs that no row has; doubts about uses stand at their rows."""
    said = {text for line in lines for note in line.notes for text in (note, f"{line.name}: {note}")}
    return [note for note in sum_of_all.notes if " uses: " not in note and note not in said]


def _width(head: str) -> int:
    return max(16 if head == "cost" else 11, len(head) + 2)


def _name(line: Row) -> str:
    return NO_TEAM if line.name is None else line.name


def _money(line: Row) -> str:
    return money(line.cost) + (f" {line.currency}" if line.currency is not None else "")
