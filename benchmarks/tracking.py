"""What MLflow takes of a training that sends every step: processor time of the delivery by that of the steps.

    python benchmarks/tracking.py [KEY=VALUE…]      # as for `gristmill run pretrain`

The ranks train some steps with their record. Then the first rank delivers their events as the launcher does, into a
new SQLite database. Making the database and the run (some seconds, once) does not count: it is done before.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from ranks import shards_here, start_ranks, stepper, trainer_of, verdict, when_and_where

STEPS = 10 * int(os.environ.get("BENCHMARK_ROUNDS", "15"))
"""A test takes ten."""
FOLDER = "BENCHMARK_FOLDER"
TARGET = 0.01


def main() -> int:
    """Start the ranks; their rank 0 prints."""
    with tempfile.TemporaryDirectory() as folder:
        return start_ranks(__file__, {FOLDER: folder})


def measure(folder: Path) -> None:
    """One rank."""
    import torch.distributed as dist

    from llm.config import compose

    dist.init_process_group("gloo")
    training = compose(sys.argv[1:]).training
    trainer = trainer_of(folder, "trainer", training, shards_here(folder, training.batch.tokens))
    step = stepper(trainer)
    began = time.process_time()
    for _ in range(STEPS):
        step()
    seconds = (time.process_time() - began) * trainer.mesh.ranks
    if trainer.mesh.is_first:
        points, spent = _delivered(folder, Path(trainer.plan.events))
        print(f"{when_and_where()}\n{STEPS} steps, {points} points of metrics")
        print(f"a step: {seconds / STEPS:.3f} s of processors; its delivery: {spent / STEPS:.5f} s")
        print(
            f"delivery / step: {spent / seconds:.4f}   {verdict(spent / seconds, TARGET, at_least=False)}", flush=True
        )
    dist.barrier()
    os._exit(0)


def _delivered(folder: Path, events: Path) -> tuple[int, float]:
    """Points sent, and seconds of the processor."""
    from llm.config import compose, to_yaml
    from llm.runs import RunFolder
    from llm.tracking.mlflow_sink import deliver

    run = RunFolder(folder / "runs" / "pretrain-1")
    run.path.mkdir(parents=True)
    run.config.write_text(to_yaml(compose(sys.argv[1:])))
    lines = events.read_text().splitlines(keepends=True)
    run.events.write_text(lines[0])
    tracking = compose(sys.argv[1:]).tracking
    deliver(run, tracking)
    with run.events.open("a") as log:
        log.writelines(lines[1:])
    began = time.process_time()
    delivery = deliver(run, tracking)
    spent = time.process_time() - began
    assert delivery.error is None, delivery.error
    return delivery.sent, spent


if __name__ == "__main__":
    if FOLDER in os.environ:
        measure(Path(os.environ[FOLDER]))
    else:
        sys.exit(main())
