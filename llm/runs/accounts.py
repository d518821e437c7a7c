"""The accounts of runs, read from their folders on this machine or in S3: the events, and the prices of each run.

A run that cannot be read whole keeps its place, with what is wrong; it does not hide the others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.config import from_earlier_yaml
from llm.errors import GristmillError, UserError
from llm.runs.event_kinds import Event
from llm.runs.events import EventLog, parse_event
from llm.runs.folder import RunFolder
from llm.runs.ledger import Account, Row, rows, uses_of
from llm.runs.mirror import EVENTS, whole_log
from llm.storage import Objects, open_objects
from llm.words import hours, money

CONFIG = "config.yaml"


def account_of(folder: RunFolder) -> Account:
    """The account of a run on this machine; raises nothing for a damaged one."""
    try:
        events, now = EventLog(folder.events).read(), time.time() if folder.is_held() else None
        config = folder.config.read_bytes() if folder.config.is_file() else None
    except OSError as error:
        return Account(folder.name, (), problem=f"it cannot be read: {error}")
    return _account(folder.name, events, config, now)


def accounts_in_s3(uri: str, name: str | None = None) -> list[Account]:
    """The accounts of all runs below an `s3://` address, the newest first, or of the named one alone.

    Raises UserError if there is none of that name, UserError or ServiceError if S3 refuses.
    """
    runs = open_objects(uri)
    prefix = "" if name is None else f"{name}/"
    parts = [part for part in runs.names(prefix) if part.split("/")[1:2] == [EVENTS.rstrip("/")]]
    newest = {part.partition("/")[0]: part.partition("/")[2] for part in parts}  # sorted: the last part of each run
    if name is not None and not newest:
        raise UserError(f"there is no run {name} in {uri}", f"`gristmill costs --runs {uri}` lists them.")
    return [_account_in_s3(runs.below(run), run) for run in sorted(newest, key=lambda run: newest[run], reverse=True)]


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


def _account_in_s3(home: Objects, run: str) -> Account:
    try:
        events = [event for line in whole_log(home).splitlines() if (event := parse_event(line)) is not None]
        config = home.read(CONFIG)
    except (GristmillError, OSError) as error:
        return Account(run, (), problem=f"it cannot be read: {_first_line(error)}")
    return _account(run, events, config, None)


def _account(run: str, events: Sequence[Event], config: bytes | None, now: float | None) -> Account:
    uses = uses_of(events, now)
    if config is None:
        return Account(run, uses)
    try:
        return Account(run, uses, from_earlier_yaml(config.decode()).costs)
    except (UserError, UnicodeDecodeError) as error:
        problem = f"no prices, since its {CONFIG} is damaged: {_first_line(error)}"
        return Account(run, uses, problem=problem)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
