"""One node of a training as a pod: `python -m llm.training.pod PLAN_URI`, under the PET_* environment of Trainer.

The main process of the pod. It reads the plan from the store, starts this node's ranks, asks them to stop when a signal
comes (torchrun would kill them) and ends with the exit code of `llm.errors`. The events of rank 0 go to stdout, one
JSON object a line. The last words also go to the termination log, where they outlive the log of the pod.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from llm.errors import EXIT_FAULT, GristmillError, OutageError, Preempted, UserError
from llm.process.cpus import keep_to_limit
from llm.process.environment import TORCHRUN_PREFIX
from llm.process.home import ensure_home
from llm.process.reach import await_route
from llm.process.signals import while_signals
from llm.runs.events import event_line, read_events
from llm.storage import cache_folder, open_objects
from llm.training.launch import Node
from llm.training.plan import TrainingPlan
from llm.training.train import run_here, training_recipe

TERMINATION_LOG = Path("/dev/termination-log")
TERMINATION_BYTES = 4096
"""Kubernetes keeps no more."""
ECHO_SECONDS = 0.25


def main(plan_uri: str) -> int:
    """Run this node's share of the plan; returns the exit code."""
    ensure_home()
    keep_to_limit()
    with while_signals(_stop):  # the kernel drops a signal to a first process that has no handler for it
        await_route(os.environ.get("AWS_ENDPOINT_URL"))
        return _run(plan_uri)


def _run(plan_uri: str) -> int:
    try:
        plan = read_plan(plan_uri)
        folder = cache_folder() / "node"
        folder.mkdir(parents=True, exist_ok=True)
        events = folder / "events.jsonl"
        with _echoing(events):
            run_here(plan.model_copy(update={"events": str(events)}), folder, node())
    except OutageError as error:  # the store may be back at the next attempt, of which the pool grants a few
        return _last_words(f"{error}", Preempted.exit_code)
    except GristmillError as error:
        return _last_words(f"{error}", error.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost edge: a fault of ours keeps its traceback
        traceback.print_exc()
        return _last_words(f"{type(error).__name__}: {error}", EXIT_FAULT)
    return 0


def read_plan(uri: str) -> TrainingPlan:
    """The plan at a URI; raises UserError if it is gone, or was made by other code than this image has."""
    home, _, name = uri.rpartition("/")
    content = open_objects(home).read(name)
    if content is None:
        raise UserError(f"there is no plan at {uri}", "The launcher of this training writes it: run the step again.")
    try:
        plan = TrainingPlan.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise _of_another_tree(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    here = training_recipe(plan.model, plan.training, plan.shards, plan.tokenizer, plan.start).key
    if here != plan.recipe:
        raise _of_another_tree(f"recipe {here}, not {plan.recipe}")
    return plan


def _of_another_tree(how: str) -> UserError:
    return UserError(
        f"this image would make another training than the one that was planned: {how}",
        "Its sources, or its versions of torch and deepspeed, are not the launcher's: build the images from the"
        " same tree (`make images`).",
    )


def _stop(number: int) -> None:
    """A stop while no rank runs. SystemExit, since no `except Exception` of a library catches it."""
    sys.exit(_last_words("stopped on request, while no rank ran", Preempted.exit_code))


def node() -> Node:
    """This pod among the nodes, as Trainer's environment says; torchrun reads the rest of it itself."""
    trainers = {name: value for name, value in os.environ.items() if name.startswith(TORCHRUN_PREFIX)}
    return Node(int(trainers.get("PET_NODE_RANK", "0")), (), trainers)


@contextmanager
def _echoing(events: Path) -> Iterator[None]:
    """Print the events that come into the file, until the end and all of them."""
    stop = threading.Event()
    told = events.stat().st_size if events.exists() else 0

    def echo() -> None:
        nonlocal told
        for event, end in read_events(events, told):
            print(event_line(event), flush=True)  # noqa: T201 - the launcher reads them from the pod's log
            told = end

    def work() -> None:
        while not stop.wait(ECHO_SECONDS):
            echo()

    thread = threading.Thread(target=work, name="echo", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        echo()


def _last_words(message: str, exit_code: int) -> int:
    with suppress(OSError):
        os.write(2, f"error: {message}\n".encode())  # from a signal's handler, too: sys.stderr may be in use
        TERMINATION_LOG.write_bytes(message.encode()[:TERMINATION_BYTES])
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
