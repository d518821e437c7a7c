"""The last lines of a run on this machine: what came of it, what this machine spent on it, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from llm.report.last_lines import last_lines
from llm.runner.local import RunOutcome
from llm.storage import is_s3
from llm.words import size


def summary(outcome: RunOutcome) -> list[str]:
    """Lines for the terminal; figures that are not there print as n/a."""
    lines = last_lines(outcome.folder, str(outcome.folder.report))
    return [*lines, *_of_this_machine(outcome), *_next(outcome)]


def _of_this_machine(outcome: RunOutcome) -> Iterator[str]:
    training = outcome.step_seconds.get("train", 0.0)
    share = f"{100 * training / outcome.seconds:.0f} %" if outcome.seconds else "n/a"
    overhead = outcome.overhead_seconds_per_step
    yield f"training took {share} of the time; peak memory {size(outcome.peak_memory_bytes)}"
    if overhead is not None and outcome.is_whole:  # of a run that ended early it says nothing
        yield f"KFP and Python start-up: {overhead:.2f} s a step (budget 1.5 s)"


def _next(outcome: RunOutcome) -> Iterator[str]:
    yield f"run {outcome.folder.path}"
    if outcome.exit_code == 0:
        yield 'next: gristmill generate "def"  |  gristmill serve  |  gristmill report --open'
        repository = outcome.folder.manifests().get("deploy")
        if repository is not None and is_s3(repository.uri):
            yield f"on a cluster (docs/platform.md): charts/gristmill-serving with model.uri={repository.uri}"
