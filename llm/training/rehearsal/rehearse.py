"""A training rehearsed: which of its ranks differ, each in a process of its own, and what they found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from llm.config import RunConfig, TrainingConfig
from llm.errors import UserError
from llm.process.children import dying_with_this_process

PATIENCE_SECONDS = 3600
LAST_LINES = 6


@dataclass(frozen=True)
class Rehearsed:
    """The memory and traffic of one rank, in bytes."""

    rank: int
    parameters: int
    """Values of this rank's parameters."""
    weights: int
    gradients: int
    states: int
    activations: int
    """The rest of the peak: what the backward pass needs, gathered weights and buffers."""
    peak: int
    sent: dict[str, int]
    """In a step, by axis."""
    collectives: dict[str, int]
    seconds: float


def distinct_ranks(training: TrainingConfig) -> list[int]:
    """The first rank of each stage that differs from the one before it: the first, one in between, and the last.

    The ranks of a stage have other data or other parts of the same matrices, and the same shapes.
    """
    parallel = training.parallel
    a_stage = parallel.world_size // parallel.pipeline
    stages = sorted({0, min(1, parallel.pipeline - 1), parallel.pipeline - 1})
    return [stage * a_stage for stage in stages]


def rehearse(config: RunConfig) -> Iterator[Rehearsed]:
    """Each distinct rank, and what it takes.

    Raises UserError with the last words of the first rank whose step fails: they are what the machines would meet.
    """
    document = json.dumps({
        "model": config.model.model_dump(mode="json"), "training": config.training.model_dump(mode="json"),
        "vocab_size": config.tokenizer.vocab_size,
    })  # fmt: skip
    for rank in distinct_ranks(config.training):
        done = subprocess.run(
            [sys.executable, "-m", "llm.training.rehearsal.rank", str(rank)], input=document, capture_output=True,
            text=True, timeout=PATIENCE_SECONDS, preexec_fn=dying_with_this_process(),
        )  # fmt: skip
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            raise UserError(f"rank {rank} fails in its step", *words[-LAST_LINES:])
        yield Rehearsed(**json.loads(done.stdout.splitlines()[-1]))


def bubble(training: TrainingConfig) -> float:
    """Share of a step in which a rank of the pipeline waits, by the schedule alone (Narayanan et al. 2021, 2.2)."""
    parallel, batch = training.parallel, training.batch
    micro_batches = batch.tokens // batch.sequence_length // parallel.data_shares // batch.micro_batch_size
    waits = parallel.pipeline - 1
    return waits / (parallel.stages_per_rank * micro_batches + waits)
