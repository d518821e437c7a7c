"""Tokens a second, MFU and memory of our trainer on the GPUs of this machine, at the shapes of real models.

    python benchmarks/gpu_throughput.py [KEY=VALUE…]      # as for `gristmill run pretrain`, after those of each shape

Each shape is a training of its own, in bf16, with compiled layers, on all GPUs with the weights shared (FSDP2). The
text is noise. The figures are medians over steps of `Trainer.step` with the record of each: the time holds loading,
logging and the agreement on stops. MFU counts the model's own arithmetic over the data sheets' peak, as everywhere in
Gristmill. BENCHMARK_SHAPES has other shapes (`MODEL:LENGTH,…`); a test takes a toy on CPU ranks.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from ranks import shards_here, start_ranks, stepper, trainer_of

SHAPES = os.environ.get("BENCHMARK_SHAPES", "1.3b:2048,1.3b:8192,7b:2048,7b:8192")
ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "20"))
"""Steps that count."""
WARM_UP = 3
"""Steps before them: compilation, and the allocator."""
TOKENS = 32_768
"""Tokens of a step on each rank, a sequence at a time."""
SHAPE, FOLDER = "BENCHMARK_SHAPE", "BENCHMARK_FOLDER"


def main() -> int:
    """Train each shape in turn; the first that fails ends it."""
    from torch import cuda

    count = cuda.device_count()
    where = f"{count} x {cuda.get_device_name()}" if count else "no GPU: these figures say nothing of one"
    print(f"{datetime.now(UTC).date()}  {where}", flush=True)
    for shape in SHAPES.split(","):
        model, _, length = shape.partition(":")
        settings = [*_settings(model, int(length), count or 2), *sys.argv[1:]]
        with tempfile.TemporaryDirectory() as folder:
            if failed := start_ranks(__file__, {SHAPE: shape, FOLDER: folder}, settings):
                return failed
    return 0


def _settings(model: str, length: int, ranks: int) -> list[str]:
    return [
        f"model={model}", f"model.max_position_embeddings={length}", "tokenizer.vocab_size=32000",
        f"training.batch.sequence_length={length}", f"training.batch.tokens={max(TOKENS, length) * ranks}",
        "training.batch.micro_batch_size=1", f"training.parallel.processes={ranks}",
        "training.parallel.backend.name=fsdp", "training.compute.precision=bf16", "training.compute.compile=true",
        "training.compute.recompute=layers",
    ]  # fmt: skip


def measure(shape: str, folder: Path) -> None:
    """One rank: some steps, and a line of figures."""
    from datetime import timedelta

    import torch.distributed as dist

    from llm.config import compose
    from llm.runs.event_kinds import TrainPlan, TrainStep
    from llm.training.rank.device import device_of

    config = compose(sys.argv[1:])
    device_of(config.training.compute.device).meet(timedelta(minutes=10))
    made = shards_here(folder, config.training.batch.tokens, config.tokenizer.vocab_size)
    trainer = trainer_of(folder, "trainer", config.training, made)
    step = stepper(trainer)
    seconds = []
    for _ in range(WARM_UP + ROUNDS):
        started = time.perf_counter()
        step()  # its losses are read, so its work is done
        seconds.append(time.perf_counter() - started)
    if dist.get_rank() == 0:
        (plan,), last = trainer.log.of_kind(TrainPlan), trainer.log.of_kind(TrainStep)[-1]
        speed = config.training.batch.tokens / statistics.median(seconds[WARM_UP:])
        ranks = trainer.mesh.ranks
        print(
            f"{shape:12} {plan.parameters / 1e6:8,.0f} M parameters  {ranks} ranks  {speed:10,.0f} tokens/s"
            f"  {speed / ranks:10,.0f} a rank  MFU {speed * plan.flops_per_token / plan.peak_flops:6.1%}"
            f"  {last.memory_bytes / 2**30 / ranks:6.1f} GiB a rank",
            flush=True,
        )
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    if SHAPE in os.environ:
        measure(os.environ[SHAPE], Path(os.environ[FOLDER]))
    else:
        sys.exit(main())
