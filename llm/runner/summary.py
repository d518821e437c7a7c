"""The last lines of a run: what it made, what it took, what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm.runner.local import RunOutcome
from llm.runs.attempt import last_attempt
from llm.storage import is_s3


def summary(outcome: RunOutcome) -> list[str]:
    """Lines for the terminal; figures that are not there print as n/a."""
    return [*_quality(outcome), *_cost(outcome), *_next(outcome)]


def _quality(outcome: RunOutcome) -> Iterator[str]:
    if not last_attempt(outcome.folder.events).finished("evaluate"):
        return
    evaluation = outcome.folder.manifest("evaluate")
    scores: dict[str, Any] = json.loads(evaluation.file("summary.json").read_text())
    interval = f"{100 * scores['confidence']:g} % interval"
    yield f"{'held-out bits per byte':24}{'model':>8}  {interval:^17}{'gzip':>8}{'xz':>8}{'documents':>11}"
    for name, row in [("overall", scores["overall"]), *sorted(scores["domains"].items())]:
        interval = f"[{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else "n/a"
        yield (
            f"  {name:22}{row['bits_per_byte']:8.3f}  {interval:^17}{row['gzip_bits_per_byte']:8.3f}"
            f"{row['xz_bits_per_byte']:8.3f}{row['documents']:>11,}"
        )


def _cost(outcome: RunOutcome) -> Iterator[str]:
    training = outcome.step_seconds.get("train", 0.0)
    share = f"{100 * training / outcome.seconds:.0f} %" if outcome.seconds else "n/a"
    overhead = outcome.overhead_seconds_per_step
    memory = "n/a" if outcome.peak_memory_bytes is None else f"{outcome.peak_memory_bytes / 2**30:.1f} GiB"
    yield f"time {outcome.seconds:.0f} s, of which training {training:.0f} s ({share}); peak memory {memory}"
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
