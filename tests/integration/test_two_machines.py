"""Two nodes that share nothing but a cable and the store: torchrun's rendezvous between them, and a node that is lost.

First the processes are those of a TrainJob's pods, `llm.training.pod`, with the environment that Trainer gives a pod.
Then the same training goes on without Kubernetes (`training.parallel.rendezvous`).
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm.errors import Preempted
from llm.runs.event_kinds import Progress, TrainResumed
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.training.train import train
from tests.cases.machines import INTERFACE, Machine, missing, two_machines
from tests.cases.training import MODEL, run, token_shards, training

STEPS = {"length.steps": 60, "checkpoints.every_steps": 4, "validation.every_steps": 30}
SETTINGS = {**STEPS, "parallel.nodes": 2, "parallel.processes": 1}
KILLED_AFTER = 9
HERE = {"GLOO_SOCKET_IFNAME": INTERFACE, "GRISTMILL_CPUS": "1"}
"""A name server would tell a machine its own address; here its interface does."""
PATIENCE_SECONDS = 60


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    with two_machines() as found:
        yield found


def start(plan: str, machine: Machine, number: int, first: Machine, folder: Path) -> subprocess.Popen[str]:
    """A node of the training, as Trainer starts it."""
    variables = {
        "PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": str(number), "PET_MASTER_ADDR": first.address,
        "PET_MASTER_PORT": "29400", "GRISTMILL_CACHE": str(folder / f"node-{number}"), **HERE,
    }  # fmt: skip
    return machine.start([sys.executable, "-m", "llm.training.pod", plan], variables)


def lose_one(plan: str, machines: tuple[Machine, Machine], folder: Path) -> list[tuple[int, str, str]]:
    """Run both nodes, and kill the second one after a step: exit code, stdout and stderr of each."""
    nodes = [start(plan, machine, number, machines[0], folder) for number, machine in enumerate(machines)]
    try:
        _wait_for_step(nodes[0], folder / "node-0" / "node" / "events.jsonl")
        os.kill(nodes[1].pid, signal.SIGKILL)
        ends = [node.communicate(timeout=PATIENCE_SECONDS) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    return [(node.returncode, *end) for node, end in zip(nodes, ends, strict=True)]


def _wait_for_step(node: subprocess.Popen[str], events: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (events.exists() and f'"train_step", "step": {KILLED_AFTER}' in events.read_text()):
        assert node.poll() is None, node.communicate()
        assert time.monotonic() < deadline, "no step came"
        time.sleep(0.002)


@pytest.fixture
def launch(tmp_path: Path, log) -> Callable[[Callable[[str], None]], Manifest]:
    """Plan a training of two nodes as a launcher does, and let a function run the plan."""
    store = Store(tmp_path / "store")
    shards, tokenizer = token_shards(store)
    config = training(SETTINGS)
    return lambda elsewhere: train(MODEL, config, shards, tokenizer, store, log, elsewhere=elsewhere)


def test_a_training_that_lost_a_node_goes_on_with_the_weights_of_an_undisturbed_one(
    machines: tuple[Machine, Machine], launch: Callable[[Callable[[str], None]], Manifest], tmp_path: Path
):
    def loses_a_node(plan: str) -> None:
        (code, _, errors), (killed, _, _) = lose_one(plan, machines, tmp_path)
        assert killed == -signal.SIGKILL
        assert code == Preempted.exit_code, errors
        assert "lost" in errors
        assert "Traceback" not in errors
        raise Preempted("as the launcher says it")

    with pytest.raises(Preempted):
        launch(loses_a_node)
    assert KILLED_AFTER - 5 <= goes_on(machines, tmp_path) < STEPS["length.steps"]
    run(tmp_path / "undisturbed", {**STEPS, "parallel.processes": 2})
    assert weights(tmp_path) == weights(tmp_path / "undisturbed")


def goes_on(machines: tuple[Machine, Machine], folder: Path) -> int:
    """The same training without a launcher, where the first machine says what the second one must call.

    Returns the step that it resumed after.
    """
    settings = {**SETTINGS, "parallel.rendezvous": f"{machines[0].address}:29401"}
    log = EventLog(folder / "events.jsonl")
    begun = [sys.executable, "-m", "tests.cases.training", str(folder), *(f"{k}={v}" for k, v in settings.items())]
    nodes = [machines[0].start(begun, HERE)]
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (told := [one.message for one in log.of_kind(Progress) if "other machines" in one.message]):
            assert nodes[0].poll() is None, nodes[0].communicate()
            assert time.monotonic() < deadline, "it said nothing"
            time.sleep(0.05)
        command = told[0].partition(": ")[2].replace("=N ", "=1 ", 1).replace(" python ", f" {sys.executable} ")
        cache = {"GRISTMILL_CACHE": str(folder / "node-1")}
        nodes.append(machines[1].start(["sh", "-c", f"exec env {command}"], {**HERE, **cache}))
        ends = [node.communicate(timeout=PATIENCE_SECONDS) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    assert [node.returncode for node in nodes] == [0, 0], ends
    return [event.step for event in log.of_kind(TrainResumed)][-1]


def weights(folder: Path) -> str:
    """The hash of the only checkpoint that a store has."""
    (path,) = (folder / "store" / "checkpoint").glob("*/model.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()
