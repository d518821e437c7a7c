"""Parts of all benchmarks of training: ranks, a trainer of ours in each, noise as text, the line of when and where."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

VOCABULARY = 4096


def start_ranks(file: str, variables: dict[str, str], settings: list[str] = sys.argv[1:]) -> int:
    """Run a benchmark's file as the ranks of the configuration, with these variables."""
    from llm.config import compose

    processes = compose(settings).training.parallel.processes
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes)),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of one loop would slow the next one
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
    }
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
               "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", file, *settings]  # fmt: skip
    return subprocess.run(command, env=environment | variables).returncode


def trainer_of(folder: Path, name: str, training, made):
    """A trainer of this rank with a workspace of that name, on what `shards_here` made."""
    from llm.config import compose
    from llm.training.plan import TrainingPlan
    from llm.training.trainer import Trainer

    shards, tokenizer = made
    (folder / name).mkdir(exist_ok=True)
    plan = TrainingPlan(
        model=compose(sys.argv[1:]).model, training=training, shards=shards, tokenizer=tokenizer, end_of_text=0,
        store=(folder / "store").as_uri(), workspace=(folder / name).as_uri(), recipe="",
        events=str(folder / f"{name}.jsonl"),
    )  # fmt: skip
    return Trainer(plan, folder / name)


def stepper(trainer) -> Callable[[], None]:
    """A step of a trainer with the record of it, which begins here."""
    record, number = trainer.callbacks[0], 0
    record.started(trainer, 0, 10_000)

    def step() -> None:
        nonlocal number
        record.step_ended(trainer, trainer.step(number, 10_000))
        number += 1

    return step


def shards_here(folder: Path, tokens: int, vocabulary: int = VOCABULARY):
    """Shards and a tokenizer for all ranks, made by the first."""
    import torch.distributed as dist

    made = [_shards(folder, tokens, vocabulary)] if dist.get_rank() == 0 else [None]
    dist.broadcast_object_list(made)
    return made[0]


def _shards(folder: Path, tokens: int, vocabulary: int):
    """Noise for some steps of so many tokens, and a tokenizer's manifest."""
    import numpy as np

    from llm.data.shards import ShardWriter, write_meta
    from llm.storage import Recipe, Store
    from llm.storage.products import TokenizerCounts

    store = Store(folder / "store")
    with store.stage("tokenizer", Recipe("tokenizer", {})) as stage:
        (stage.path / "tokenizer.json").write_text("{}")
        tokenizer = stage.commit(TokenizerCounts(vocab_size=vocabulary, documents_round_tripped=0, bytes_per_token={}))
    with store.stage("shards", Recipe("shards", {})) as stage:
        for split in ("train", "validation", "test"):
            with ShardWriter(stage.path, split, vocabulary) as writer:
                writer.add(np.random.default_rng(0).integers(0, vocabulary, 4 * tokens), "noise")
        write_meta(stage.path, vocabulary, 0)
        return stage.commit(), tokenizer


def when_and_where() -> str:
    """Date, commit, machine and settings, in two lines."""
    import torch

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    machine = f"{len(os.sched_getaffinity(0))} cores, {torch.backends.cpu.get_cpu_capability()}"
    settings = " ".join(sys.argv[1:]) or "the defaults"
    return (
        f"{datetime.now(UTC).date()}  commit {commit or 'n/a'}  {machine}  torch {torch.__version__}\n"
        f"settings: {settings}"
    )


def verdict(value: float, target: float, *, at_least: bool) -> str:
    """`target 0.95   ok`, or MISSED."""
    return f"target {target:g}   {'ok' if (value >= target if at_least else value <= target) else 'MISSED'}"
