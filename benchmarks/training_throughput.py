"""Tokens a second, memory and share of the peak of our trainer, against a plain loop and Hugging Face's Trainer.

    python benchmarks/training_throughput.py [KEY=VALUE…]      # as for `gristmill run pretrain`

All loops take turns in one run, a few steps each, so that a busy machine slows all of them alike; the figures are
medians over the rounds. Ours go through `Trainer.step` and the record of each step, so the time holds loading, logging,
the agreement on stops and the refusal of a diverged loss. The matrix product of all ranks has its turn too, and so has
our own loop with deterministic operations only. Afterwards each loop runs alone, for the memory of a rank.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from peers import hugging_face_loop, plain_loop
from ranks import VOCABULARY, shards_here, start_ranks, stepper, trainer_of, verdict, when_and_where

ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "15"))
"""Turns that count; a test takes one."""
STEPS = int(os.environ.get("BENCHMARK_STEPS", "4"))
"""Steps of a turn."""
PLAIN, ALONE, HUGGING_FACE, PRODUCT, DETERMINISTIC = "plain DDP", "one process", "HF Trainer", "matmul", "deterministic"
TARGETS = {"torch": 1.0, "deepspeed": 0.95}
FOLDER, ONLY = "BENCHMARK_FOLDER", "BENCHMARK_ONLY"
PEERS = [PLAIN, *([HUGGING_FACE] if find_spec("accelerate") else [])]
MEMORY_OF = os.environ["BENCHMARK_MEMORY_OF"].split(",") if "BENCHMARK_MEMORY_OF" in os.environ else [*PEERS, *TARGETS]
"""Loops that run alone for their memory; a test takes one."""


def main() -> int:
    """Start the ranks, once for the speed of all loops, then for the memory of each; their rank 0 prints."""
    for only in ("", *MEMORY_OF):
        with tempfile.TemporaryDirectory() as folder:
            if failed := start_ranks(__file__, {FOLDER: folder, ONLY: only}):
                return failed
    if HUGGING_FACE not in PEERS:
        print(f"{HUGGING_FACE}: NOT MEASURED: pip install accelerate")
    return 0


def measure(folder: Path, only: str) -> None:
    """One rank: build the loops, let them run, print."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    if only:
        _memory(only, _loops(folder, [only])[only])
    else:
        _speed(_loops(folder, [ALONE, *PEERS, *TARGETS]), folder / "torch.jsonl")
    dist.barrier()
    os._exit(0)


def _loops(folder: Path, names: list[str]) -> dict[str, Callable[[], None]]:
    from llm.config import TrainingConfig, compose

    peers = {
        ALONE: lambda: plain_loop(distributed=False),
        PLAIN: lambda: plain_loop(distributed=True),
        HUGGING_FACE: lambda: hugging_face_loop(folder),
    }
    loops = {name: peers[name]() for name in names if name in peers}
    config = compose(sys.argv[1:])
    made = shards_here(folder, config.training.batch.tokens)
    for backend in (name for name in names if name in TARGETS):
        parallel = {**config.training.parallel.model_dump(), "backend": {"name": backend}}
        training = TrainingConfig.model_validate({**config.training.model_dump(), "parallel": parallel})
        loops[backend] = stepper(trainer_of(folder, backend, training, made))
    return loops


def _speed(loops: dict[str, Callable[[], None]], events: Path) -> None:
    import torch
    import torch.distributed as dist

    from llm.runs.event_kinds import TrainStep
    from llm.runs.events import EventLog

    cores, ranks = len(os.sched_getaffinity(0)), dist.get_world_size()
    loops = {**loops, DETERMINISTIC: _deterministic(loops["torch"]), PRODUCT: _product()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for round_number in range(ROUNDS + 1):  # the first one warms up
        for name, step in loops.items():
            torch.set_num_threads(cores if name == ALONE else max(1, cores // ranks))
            dist.barrier()
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            dist.barrier()
            if round_number:
                seconds[name].append((time.perf_counter() - started) / STEPS)
    if dist.get_rank() == 0:
        _print(seconds, ranks)
        waits = [step.data_seconds or 0 for step in EventLog(events).of_kind(TrainStep)]
        share = statistics.median(waits) / statistics.median(seconds["torch"])
        print(f"torch waits for data in {share:.2%} of a step", flush=True)


def _deterministic(step: Callable[[], None]) -> Callable[[], None]:
    """The step with operations that give the same bits every time."""
    import torch

    from llm.training.rank.device import Device

    def with_the_same_bits() -> None:
        Device.be_deterministic()
        step()
        torch.use_deterministic_algorithms(mode=False)

    return with_the_same_bits


SIDE, PRODUCTS = 1024, 20


def _product() -> Callable[[], None]:
    """Square products, as the peak of the MFU is measured."""
    import torch

    a, b = (torch.randn(SIDE, SIDE) for _ in range(2))

    def multiply() -> None:
        for _ in range(PRODUCTS):
            a @ b

    return multiply


def _memory(name: str, step: Callable[[], None]) -> None:
    """Some steps, and the most that a rank held."""
    import torch
    import torch.distributed as dist

    for _ in range(STEPS):
        step()
    most = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    if dist.get_rank() == 0:
        print(f"{name:14} {float(most):8.0f} MiB a rank at most", flush=True)


def _print(seconds: dict[str, list[float]], ranks: int) -> None:
    """When and where; medians; and the ratios round by round, which a machine that slows down does not bend."""
    from llm.config import compose
    from llm.model import count_parameters, flops_per_token

    config = compose(sys.argv[1:])
    tokens = config.training.batch.tokens
    flops = flops_per_token(config.model, VOCABULARY, config.training.batch.sequence_length)
    print(f"{when_and_where()}\n{count_parameters(config.model, VOCABULARY) / 1e6:.1f} M parameters, {ranks} ranks")
    peaks = [2 * SIDE**3 * PRODUCTS * ranks / time for time in seconds.pop(PRODUCT)]
    for name, times in seconds.items():
        share = statistics.median(flops * tokens / own / peak for own, peak in zip(times, peaks, strict=True))
        print(f"{name:14} {tokens / statistics.median(times):8.0f} tokens/s   {share:.1%} of the matrix product")

    def ratio(ours: str, peer: str) -> float:
        return statistics.median(p / own for p, own in zip(seconds[peer], seconds[ours], strict=True))

    for backend, target in TARGETS.items():
        for peer in PEERS:
            found = ratio(backend, peer)
            print(f"{backend} / {peer}: {found:.3f}   {verdict(found, target, at_least=True)}")
    print(f"{DETERMINISTIC} / torch: {ratio(DETERMINISTIC, 'torch'):.3f}")


if __name__ == "__main__":
    if FOLDER in os.environ:
        measure(Path(os.environ[FOLDER]), os.environ[ONLY])
    else:
        sys.exit(main())
