"""The plan of a run, step by step, with reasons: `gristmill run --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator

from llm.config import RunConfig
from llm.runner.preflight import offline_preflight
from llm.runs.folder import run_name
from llm.steps import steps_of
from llm.steps.foresee import foresee, foresight
from llm.storage import Manifest


def dry_run(pipeline: str, config: RunConfig) -> Iterator[str]:
    """A line for each step: `ingest     reused: corpus 3f9a…`, `train      made again: config training.optimizer.lr …`.

    Raises what a run would raise before its first step without asking a server, and what a step would raise before its
    work, such as UserError for a missing file.
    """
    offline_preflight(config)
    known: dict[str, Manifest] = {}
    with foresight(config, config.run.name or run_name(pipeline, config)) as context:
        for step in steps_of(pipeline):
            foreseen = foresee(step, context, known)
            if foreseen.product is not None:
                known[step.name] = foreseen.product
            yield f"{step.name:<10} {foreseen.words}"
