"""The accounts of runs, read from their folders: the events, and the prices of each run.

A run that cannot be read whole keeps its place, with what is wrong; it does not hide the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.config import from_earlier_yaml
from llm.errors import UserError
from llm.runs.event_kinds import Event
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.runs.ledger import Account, Row, rows, uses_of
from llm.words import hours, money


def account_of(folder: RunFolder) -> Account:
    """The account of a run on this machine; raises nothing for a damaged one."""
    try:
        events, now = EventLog(folder.events).read(), time.time() if folder.is_held() else None
        config = folder.config.read_bytes() if folder.config.is_file() else None
    except OSError as error:
        return Account(folder.name, (), problem=f"it cannot be read: {error}")
    return _account(folder.name, events, config, now)


def with_prices(account: Account, changes: Mapping[str, Any]) -> Account:
    """The account with other prices than those that its run had."""
    return replace(account, prices=account.prices.model_copy(update=dict(changes)))


def in_one_line(account: Account) -> str | None:
    """The use and the cost of a run, as `0.17 CPU-hours, 3.2 GiB-hours: 0.41 USD`; None if it has no use.

    It begins with `about` if `gristmill costs` has a note on it.
    """
    (row,) = rows([account], "run")
    return _words(row) if account.uses else None


def _words(row: Row) -> str:
    parts = [f"{'about ' if row.notes else ''}{hours(row.cpu_seconds)} CPU-hours"]
    parts += [f"{hours(row.gib_seconds)} GiB-hours"] if row.gib_seconds is not None else []
    parts += [f"{hours(seconds)} {name}-hours" for name, seconds in row.accelerator_seconds.items()]
    return ", ".join(parts) + (f": {money(row.cost)} {row.currency}" if row.cost is not None else "")


def _account(run: str, events: Sequence[Event], config: bytes | None, now: float | None) -> Account:
    uses = uses_of(events, now)
    if config is None:
        return Account(run, uses)
    try:
        return Account(run, uses, from_earlier_yaml(config.decode()).costs)
    except (UserError, UnicodeDecodeError) as error:
        problem = f"no prices, since its config.yaml is damaged: {_first_line(error)}"
        return Account(run, uses, problem=problem)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
