"""Tokens a second of our trainer, both backends, against a plain PyTorch loop over the same model and batch.

    python benchmarks/training_throughput.py [KEY=VALUE…]      # as for `gristmill run pretrain`

The plain loop runs in two arrangements, one process with all cores and DDP over the ranks, and the faster one is
what we are measured against. All four take turns in one run, a few steps each, so that a busy machine slows all of
them alike; the figures are medians over the rounds. Ours go through `Trainer.step` and the record of each step, so the
time holds loading, logging, the agreement on stops and the refusal of a diverged loss.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "15"))
"""Turns that count; a test takes one."""
STEPS = 4
VOCABULARY = 4096
TARGETS = {"torch": 0.95, "deepspeed": 0.90}


def main() -> int:
    """Start the ranks; their rank 0 prints."""
    with tempfile.TemporaryDirectory() as folder:
        return start_ranks(__file__, {"BENCHMARK_FOLDER": folder})


def start_ranks(file: str, variables: dict[str, str], settings: list[str] = sys.argv[1:]) -> int:
    """Run a benchmark's file as the ranks of the configuration, with these variables."""
    from llm.config import compose

    processes = compose(settings).training.parallel.processes
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of one loop would slow the next one
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
    }
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone",
               "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", file, *settings]  # fmt: skip
    return subprocess.run(command, env=environment | variables).returncode


def measure(folder: Path) -> None:
    """One rank: build the four loops, let them take turns, print."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    loops = {**_plain_loops(), **_our_loops(folder)}
    cores = len(os.sched_getaffinity(0))
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for round_number in range(ROUNDS + 1):  # the first one warms up
        for name, step in loops.items():
            torch.set_num_threads(cores if name == "one process" else max(1, cores // dist.get_world_size()))
            dist.barrier()
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            dist.barrier()
            if round_number:
                seconds[name].append((time.perf_counter() - started) / STEPS)
    if dist.get_rank() == 0:
        _print(seconds)
    dist.barrier()
    os._exit(0)


def _plain_loops() -> dict[str, Callable[[], None]]:
    """What one would write without us: model, AdamW, cross-entropy, clipping; the batch is ready in memory."""
    import torch
    import torch.distributed as dist
    from torch.nn.functional import cross_entropy
    from torch.nn.parallel import DistributedDataParallel

    from llm.config import compose
    from llm.model import Decoder, initialise

    config = compose(sys.argv[1:])
    training = config.training
    length = training.batch.sequence_length
    batch = torch.randint(0, VOCABULARY, (training.batch.tokens // length, length + 1))

    def loop(own: torch.Tensor, distributed: bool) -> Callable[[], None]:
        model = Decoder(config.model, VOCABULARY)
        initialise(model, training.seed)
        wrapped = (
            DistributedDataParallel(model, gradient_as_bucket_view=True, forward_sync_buffers=False)
            if distributed
            else model
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        parts = own.split(training.batch.micro_batch_size)

        def step() -> None:
            for index, part in enumerate(parts):
                if distributed:
                    wrapped.require_backward_grad_sync = index == len(parts) - 1
                logits = wrapped(part[:, :-1])
                (cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten()) / len(parts)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        return step

    alone = loop(batch, distributed=False)
    ranks = loop(batch[dist.get_rank() :: dist.get_world_size()], distributed=True)
    return {"one process": (alone if dist.get_rank() == 0 else lambda: None), "DDP ranks": ranks}


def _our_loops(folder: Path) -> dict[str, Callable[[], None]]:
    from llm.config import TrainingConfig, compose

    config = compose(sys.argv[1:])
    made = shards_here(folder, config.training.batch.tokens)
    loops = {}
    for backend in TARGETS:
        parallel = {**config.training.parallel.model_dump(), "backend": {"name": backend}}
        training = TrainingConfig.model_validate({**config.training.model_dump(), "parallel": parallel})
        loops[backend] = stepper(trainer_of(folder, backend, training, made))
    return loops


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


def _print(seconds: dict[str, list[float]]) -> None:
    """When and where; medians; and the ratios round by round, which a machine that slows down does not bend."""
    import torch

    from llm.config import compose

    training = compose(sys.argv[1:]).training
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    machine = f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    print(f"{datetime.now(UTC).date()}  commit {commit or 'n/a'}  {machine}  torch {torch.__version__}")
    print(f"settings: {' '.join(sys.argv[1:]) or 'the defaults'}")
    for name, times in seconds.items():
        speed = training.batch.tokens / statistics.median(times)
        print(f"{name:12} {speed:8.0f} tokens/s   (fastest round {training.batch.tokens / min(times):.0f})")
    plain = min(("one process", "DDP ranks"), key=lambda name: statistics.median(seconds[name]))
    for backend, target in TARGETS.items():
        ratio = statistics.median(p / ours for p, ours in zip(seconds[plain], seconds[backend], strict=True))
        verdict = "ok" if ratio >= target else "MISSED"
        print(f"{backend} / plain loop ({plain}): {ratio:.3f}   target {target:.2f}   {verdict}")


if __name__ == "__main__":
    if "BENCHMARK_FOLDER" in os.environ:
        measure(Path(os.environ["BENCHMARK_FOLDER"]))
    else:
        sys.exit(main())
