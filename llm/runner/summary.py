"""The last lines of a run: what it made, what it took, what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llm.evaluation.words import heading, quantity
from llm.runner.local import RunOutcome
from llm.runs.accounts import account_of, in_one_line
from llm.runs.attempt import last_attempt
from llm.storage import is_s3
from llm.words import duration, size


def summary(outcome: RunOutcome) -> list[str]:
    """Lines for the terminal; figures that are not there print as n/a."""
    return [*_quality(outcome), *_cost(outcome), *_next(outcome)]


def _quality(outcome: RunOutcome) -> Iterator[str]:
    if not last_attempt(outcome.folder.events).finished("evaluate"):
        return
    evaluation = outcome.folder.manifest("evaluate")
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


def _cost(outcome: RunOutcome) -> Iterator[str]:
    training = outcome.step_seconds.get("train", 0.0)
    share = f"{100 * training / outcome.seconds:.0f} %" if outcome.seconds else "n/a"
    overhead = outcome.overhead_seconds_per_step
    yield (
        f"time {duration(outcome.seconds)}, of which training {duration(training)} ({share});"
        f" peak memory {size(outcome.peak_memory_bytes)}"
    )
    if (used := in_one_line(account_of(outcome.folder))) is not None:
        yield f"used {used}, over all attempts"
    if overhead is not None and outcome.is_whole:  # of a run that ended early it says nothing
        yield f"KFP and Python start-up: {overhead:.2f} s a step (budget 1.5 s)"
    if outcome.reused:
        yield f"reused: {', '.join(outcome.reused)}"


def _next(outcome: RunOutcome) -> Iterator[str]:
    yield f"run {outcome.folder.path}, report {outcome.folder.report}"
    if outcome.exit_code == 0:
        yield 'next: gristmill generate "def"  |  gristmill serve  |  gristmill report --open'
        repository = outcome.folder.manifests().get("deploy")
        if repository is not None and is_s3(repository.uri):
            yield f"on a cluster (docs/platform.md): charts/gristmill-serving with model.uri={repository.uri}"
