"""The last lines about a run: what came of it. `run`, `submit` and `status --wait` end with the same ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from llm.errors import UserError
from llm.evaluation.gate.words import verdict_in_words
from llm.evaluation.words import heading, quantity
from llm.runs.accounts import account_of, in_one_line
from llm.runs.attempt import Attempt, last_attempt
from llm.runs.event_kinds import TrainStep
from llm.runs.folder import RunFolder
from llm.storage.products import GateCounts
from llm.words import duration, hours, money

WIDTH, UNBROKEN = 100, "\x1f"
"""Characters of a line of times; a space within one, which no line ends at."""
UNREADABLE = (UserError, OSError, ValueError, KeyError)
"""A product that is gone or damaged: the line about it is left out, and the others are printed."""


def last_lines(folder: RunFolder, report: str) -> list[str]:
    """Scores, verdict, version, addresses and times, as far as they are there; `report` is the report's address."""
    attempt = last_attempt(folder.events)
    parts = (_scores, _verdict, _model, _served)
    lines = [line for part in parts for line in _readable(part, folder, attempt)]
    return [*lines, *_times(attempt), *_trained(attempt), *_cost(folder), f"report {report}"]


def made(folder: RunFolder) -> dict[str, Any]:
    """The same for programs: verdict, registered version, its alias, Triton's repository; null: not there."""
    attempt = last_attempt(folder.events)

    def uri(step: str) -> str | None:
        return folder.manifest(step).uri if attempt.finished(step) else None

    verdict = GateCounts.of(folder.manifest("gate")).verdict if attempt.finished("gate") else None
    return {"verdict": verdict, "model": uri("register"), "alias": uri("promote"), "repository": uri("deploy")}


def _readable(part: Any, folder: RunFolder, attempt: Attempt) -> list[str]:
    try:
        return list(part(folder, attempt))
    except UNREADABLE:
        return []


def _scores(folder: RunFolder, attempt: Attempt) -> Iterator[str]:
    if not attempt.finished("evaluate"):
        return
    evaluation = folder.manifest("evaluate")
    scores: dict[str, Any] = json.loads(evaluation.file("summary.json").read_text(encoding="utf-8"))
    interval = f"{100 * scores['intervals']['confidence']:g} % interval"
    for name, about in scores["metrics"].items():
        yield from _table(name, about, interval)


def _table(name: str, about: Mapping[str, Any], interval: str) -> Iterator[str]:
    """A metric overall and by domain, with its references, one column each."""
    references, items = list(about["overall"]["references"]), f"{about['item']}s"
    head = f"held-out {heading(name, about['unit'])}"
    others = "".join(f"{reference:>{_width(reference)}}" for reference in references)
    first = max(24, len(head))
    yield f"{head:{first}}{'model':>8}  {interval:^17}{others}{items:>{max(11, len(items) + 2)}}"
    for domain, row in [("overall", about["overall"]), *sorted(about["domains"].items())]:
        between = f"[{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else "n/a"
        others = "".join(f"{quantity(row['references'].get(one), ''):>{_width(one)}}" for one in references)
        value, count = quantity(row["value"], ""), f"{row['items']:,}"
        yield f"  {domain:{first - 2}}{value:>8}  {between:^17}{others}{count:>{max(11, len(items) + 2)}}"


def _width(head: str) -> int:
    return max(8, len(head) + 2)


def _verdict(folder: RunFolder, attempt: Attempt) -> Iterator[str]:
    if not attempt.finished("gate"):
        return
    judgement = folder.manifest("gate").file("gate.json").read_text(encoding="utf-8")
    first, *reasons = verdict_in_words(json.loads(judgement))
    yield f"gate {first}"
    yield from (f"  {reason}" for reason in reasons)


def _model(folder: RunFolder, attempt: Attempt) -> Iterator[str]:
    if not attempt.finished("register"):
        return
    alias = f", now {folder.manifest('promote').uri}" if attempt.finished("promote") else ", not promoted"
    yield f"model {folder.manifest('register').uri}{alias}"


def _served(folder: RunFolder, attempt: Attempt) -> Iterator[str]:
    if attempt.finished("deploy"):
        yield f"Triton's repository {folder.manifest('deploy').uri}"


def _times(attempt: Attempt) -> Iterator[str]:
    """The time of each step that worked, and those that were reused."""
    worked = [step for step in attempt.steps.values() if step.state != "reused" and step.seconds is not None]
    reused = [step.name for step in attempt.steps.values() if step.state == "reused"]
    if worked:
        yield f"time {duration(attempt.seconds)}"
        times = (f"{step.name} {duration(step.seconds)}".replace(" ", UNBROKEN) for step in worked)
        lines = wrap(", ".join(times), WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        yield from (line.replace(UNBROKEN, " ") for line in lines)
    if reused:
        yield f"reused: {', '.join(reused)}"


def _trained(attempt: Attempt) -> Iterator[str]:
    """The devices' time of the training, if it worked in this attempt."""
    last = next(reversed(attempt.of_kind(TrainStep)), None)
    if last is not None and last.device_seconds is not None:
        cost = "" if last.cost is None else f", which cost {money(last.cost)}"
        yield f"the training took {hours(last.device_seconds)} device-hours{cost}, over all its attempts"


def _cost(folder: RunFolder) -> Iterator[str]:
    if (used := in_one_line(account_of(folder))) is not None:
        yield f"used {used}, over all attempts"
