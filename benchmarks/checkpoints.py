"""What checkpoints cost a training: the step that saves, the restart, and a read against a copy of the bytes.

    python benchmarks/checkpoints.py [KEY=VALUE…]      # as for `gristmill run pretrain`

Turns of some steps follow one another: without a save, with one while the training goes on (as the product does it),
and with one that the loop waits for. The figures are medians over the turns of each kind.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from ranks import VOCABULARY, shards_here, start_ranks, trainer_of, verdict, when_and_where

SAVES = int(os.environ.get("BENCHMARK_ROUNDS", "6"))
"""Of each kind; a test takes one."""
STEPS_OF_A_TURN = 6
"""The first of them saves."""
GOES_ON = "while the training goes on"
SAVING_TARGET, READ_TARGET, RESTART_TARGET_SECONDS = 1.1, 2.0, 15.0


def main() -> int:
    """Save in one start of the ranks, go on in another."""
    with tempfile.TemporaryDirectory() as folder:
        for phase in ("save", "restart"):
            environment = {"BENCHMARK_FOLDER": folder, "BENCHMARK_PHASE": phase, "BENCHMARK_STARTED": str(time.time())}
            if code := start_ranks(__file__, environment):
                return code
    return 0


def measure(folder: Path) -> None:
    """One rank."""
    import torch.distributed as dist

    from llm.config import TrainingConfig, compose

    dist.init_process_group("gloo")
    checkpoints = {"every_steps": 10**6, "keep": 2}
    given = compose(sys.argv[1:]).training.model_dump()
    training = TrainingConfig.model_validate({**given, "checkpoints": checkpoints})
    trainer = trainer_of(folder, "work", training, shards_here(folder, training.batch.tokens))
    (_save if os.environ["BENCHMARK_PHASE"] == "save" else _restart)(trainer)
    dist.barrier()
    os._exit(0)


def _save(trainer) -> None:
    import torch.distributed as dist

    from llm.training.callbacks._save import Save

    (save,) = (one for one in trainer.callbacks if isinstance(one, Save))
    ways = {"nothing": None, GOES_ON: save.begin, "while the loop waits": save.save}
    steps: dict[str, list[float]] = {name: [] for name in ways}
    turns: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(len(ways) * (SAVES + 1)):  # the first of each warms up
        name = list(ways)[turn % len(ways)]
        times = []
        for place in range(STEPS_OF_A_TURN):
            dist.barrier()
            started = time.perf_counter()
            done = trainer.step(turn * STEPS_OF_A_TURN + place, 10**6)
            if place == 0 and (way := ways[name]) is not None:
                way(trainer, done.number)
            times.append(time.perf_counter() - started)
        if turn >= len(ways):
            steps[name].append(times[0])
            turns[name].append(sum(times))
        trainer.saver.wait()
    if not trainer.mesh.is_first:
        return
    step = statistics.median(steps["nothing"])
    print(when_and_where())
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    print(f"{parameters:,} parameters, {trainer.world} ranks, vocabulary {VOCABULARY:,}; a step takes {step:.3f} s")
    for name in list(ways)[1:]:
        ratio = statistics.median(steps[name]) / step
        more = statistics.median(turns[name]) - statistics.median(turns["nothing"])
        target = f"   {verdict(ratio, SAVING_TARGET, at_least=False)}" if name == GOES_ON else ""
        print(f"a step that saves {name} / a step: {ratio:.3f}{target}; a save costs {more:.2f} s in all")


def _restart(trainer) -> None:
    import torch.distributed as dist

    from llm.training.resume import resume

    began = time.perf_counter()
    first = resume(trainer)
    read = time.perf_counter() - began
    trainer.step(first, 10**6)
    seconds = time.time() - float(os.environ["BENCHMARK_STARTED"])
    dist.barrier()
    if trainer.mesh.is_first:
        newest = max((trainer.scratch).glob("step-*"))
        began = time.perf_counter()
        shutil.copytree(newest, trainer.scratch / "copy")
        copied = time.perf_counter() - began
        size = sum(path.stat().st_size for path in newest.iterdir()) / 1e6
        said = verdict(seconds, RESTART_TARGET_SECONDS, at_least=False)
        print(f"from the start to the first new step: {seconds:.1f} s   {said}")
        said = verdict(read / copied, READ_TARGET, at_least=False)
        print(f"reading {size:.0f} MB / copying them: {read / copied:.2f}   {said}")


if __name__ == "__main__":
    if "BENCHMARK_FOLDER" in os.environ:
        measure(Path(os.environ["BENCHMARK_FOLDER"]))
    else:
        sys.exit(main())
