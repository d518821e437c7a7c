"""One rank: `torchrun … -m llm.training.worker FOLDER`, started by `llm.training.launch`.

It leaves in the folder how it ended, for the parent. It says a mistake of the user in words; a traceback is a
fault of ours.
Heavy imports wait until the kernel knows which process this one must not outlive.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

from llm.config import mistake_in_named
from llm.errors import GristmillError, OutageError, Preempted
from llm.process.signals import ignore_stop_signals
from llm.storage import disk_full, is_disk_full
from llm.training.death import is_lost_connection, leave_fault
from llm.training.guards.hang import answer_with_stacks
from llm.training.launch import die_with_launcher
from llm.training.plan import Outcome, TrainingPlan

BEGAN = time.monotonic()
COLLECTIVE_TIMEOUT = timedelta(minutes=10)


def main(folder: Path) -> None:
    """Train as the plan in `folder` says, leave the outcome, and end the process."""
    die_with_launcher()
    answer_with_stacks(folder, int(os.environ["RANK"]))
    try:
        _work(folder)
    except Exception as error:
        leave_fault(folder, int(os.environ["RANK"]), error)
        raise


def _work(folder: Path) -> None:
    warnings.simplefilter("ignore")  # DeepSpeed's and torch's, for other people's choices
    import torch.distributed as dist

    plan = TrainingPlan.read(folder)
    outcome = _train(plan, folder)
    ignore_stop_signals()  # all is saved, and a stop has nothing left to do
    if outcome.exit_code or os.environ["LOCAL_RANK"] == "0":  # once a node
        outcome.write(folder)
    if not outcome.exit_code:
        dist.barrier()
    # The outcome is on the disk. Libraries' own shut-down (gloo, DeepSpeed) takes seconds and has nothing left to do;
    # after an error that only one rank saw, torchrun ends the others.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(outcome.exit_code)


def _train(plan: TrainingPlan, folder: Path) -> Outcome:
    from llm.training.rank.device import device_of
    from llm.training.rank.measure import measure
    from llm.training.trainer import Trainer

    try:
        device_of(plan.training.compute.device).meet(COLLECTIVE_TIMEOUT)
        steps = plan.steps()
        if steps is None:
            steps = measure(Trainer(plan, folder))  # and forget: what it learned does not count
        _to_the_end(plan, folder, steps)
    except OutageError as error:  # of the store: what is saved stays, and the next attempt goes on from it
        return Outcome(exit_code=Preempted.exit_code, message=str(error))
    except GristmillError as error:
        return Outcome(exit_code=error.exit_code, message=str(error))
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and is_disk_full(error):
            full = disk_full(folder, error)
            return Outcome(exit_code=full.exit_code, message=str(full))
        if is_lost_connection(error) or (mistake := mistake_in_named(error)) is None:
            raise
        return Outcome(exit_code=mistake.exit_code, message=str(mistake))
    return Outcome(exit_code=0)


def _to_the_end(plan: TrainingPlan, folder: Path, steps: int) -> None:
    """Train, and after a rollback with another trainer; only one of them is in memory."""
    from llm.training.guards.rollback import BeginsAgain
    from llm.training.trainer import Trainer

    began, is_stopping = BEGAN, False
    while True:
        trainer = Trainer(plan, folder, began)
        trainer.is_stopping = is_stopping
        try:
            return trainer.train(steps)
        except BeginsAgain:  # it has written down the time that it took
            began, is_stopping = time.monotonic(), trainer.is_stopping
        del trainer
        gc.collect()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
