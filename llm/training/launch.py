"""Starting the ranks on this machine and waiting for them.

No process outlives its parent: the kernel kills torchrun when we die, and each rank when torchrun does, so that
a pipeline killed with SIGKILL leaves nobody writing into the folder.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from llm.errors import Preempted, as_error
from llm.process.children import die_with_parent, dying_with_this_process
from llm.storage import Objects
from llm.training.plan import Outcome

WORKER_LOG = "workers.log"
CPUS = "GRISTMILL_CPUS"
"""Environment variable with the processors that are ours, where the machine has more (a pod's request)."""
LAUNCHER_PID = "GRISTMILL_LAUNCHER_PID"
"""Environment variable with the process that torchrun, and through it every rank, must not outlive."""
STOP_SECONDS = 120
"""How long the ranks may take to save after a stop was asked for."""
POLL_SECONDS = 0.2
LAST_LINES = 15

_RANK_DEATH = re.compile(r"rank\s*: (\d+) \(local_rank.*?exitcode\s*: (-?\d+)", re.DOTALL)
"""How torchrun's log names a rank that failed, and with which code (negative: the signal)."""


@dataclass(frozen=True)
class Node:
    """A machine of the training, by its number; `torchrun` holds the options with which its ranks find the others."""

    number: int
    torchrun: tuple[str, ...]
    environment: Mapping[str, str]


def this_machine_alone() -> Node:
    """All ranks are here: they meet on the loopback, as the host's own name may not resolve, or lead to a firewall."""
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return Node(0, ("--standalone", "--local-addr=127.0.0.1"), loopback)


def launch(folder: Path, vault: Objects, node: Node, processes: int, last_checkpoint: Callable[[], str]) -> None:
    """Run the plan in `folder` to its end on that many ranks here; SIGTERM and SIGINT are passed on to them.

    `last_checkpoint` says in words where a training that was cut off goes on. Raises what the workers raised for the
    user; Preempted if a rank was killed; RuntimeError, with the last lines of their log, for a fault of ours.
    """
    Outcome.reserve(folder)
    log = folder / WORKER_LOG
    command = [sys.executable, "-m", "torch.distributed.run", *node.torchrun,
               f"--nproc-per-node={processes}", f"--log-dir={os.devnull}",
               "-m", "llm.training.worker", str(folder)]  # fmt: skip
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C in a terminal reaches us, and we pass it on once.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=_environment(vault, node, processes), start_new_session=True, preexec_fn=dying_with_this_process(),
        )  # fmt: skip
        asked_to_stop = _wait(process)
    outcome = Outcome.take(folder)
    if outcome is None:
        raise _death(log, asked_to_stop, last_checkpoint())
    if outcome.exit_code:
        raise as_error(outcome.exit_code, outcome.message)


def die_with_launcher() -> None:
    """Let this rank end with torchrun, and at once if the launcher is already gone."""
    launcher = int(os.environ[LAUNCHER_PID])
    die_with_parent(lambda: _parent_of(os.getppid()) == launcher)


def _environment(vault: Objects, node: Node, processes: int) -> dict[str, str]:
    threads = str(_threads(vault, node, processes))
    return {**os.environ, "OMP_NUM_THREADS": threads, LAUNCHER_PID: str(os.getpid()), **node.environment}


def _threads(vault: Objects, node: Node, processes: int) -> int:
    """Threads of a rank, fixed at the first launch: their number decides the order of sums, and so the last bits."""
    name = f"threads-{node.number}.json"
    vault.write(name, json.dumps(max(1, _cores() // processes)).encode(), if_absent=True)
    return int(json.loads(vault.read(name) or b"1"))


def _cores() -> int:
    if (ours := os.environ.get(CPUS)) is not None:
        return int(ours)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end; a stop asked of us is asked of the ranks, which save first. Returns whether it was."""
    asked_at: float | None = None
    told: set[int] = set()

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        asked_at = asked_at or time.monotonic()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            try:
                process.wait(POLL_SECONDS)
                return asked_at is not None
            except subprocess.TimeoutExpired:
                if asked_at is not None:
                    ranks = _children(process.pid)
                    _tell_to_stop(ranks or (), told)
                    if (ranks == [] and not told) or time.monotonic() > asked_at + STOP_SECONDS:
                        process.kill()  # it waits for other nodes, and there is nothing to save; or it has had its time
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_to_stop(ranks: Iterable[int], told: set[int]) -> None:
    """Send SIGTERM to each rank once. Not to torchrun, which would kill the ranks after its own patience."""
    for rank in set(ranks) - told:
        told.add(rank)
        try:
            os.kill(rank, signal.SIGTERM)
        except ProcessLookupError:
            continue  # ended by itself


def _children(pid: int) -> list[int] | None:
    """None where the kernel does not say: /proc/PID/task/PID/children is an option of it."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return None


def _parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _death(log: Path, asked_to_stop: bool, last_checkpoint: str) -> Exception:
    """What to raise when the ranks ended without a word."""
    go_on = f"{last_checkpoint} Run the same command to go on."
    if asked_to_stop:
        return Preempted("stopped on request before the first step", go_on)
    text = log.read_text(errors="replace")
    deaths = [(int(rank), -int(code)) for rank, code in _RANK_DEATH.findall(text)]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):  # after a SIGKILL, torchrun sends others SIGTERM
        for rank in (rank for rank, code in deaths if code == number):
            return Preempted(
                f"rank {rank} of the training was killed ({number.name})", "By hand, or for lack of memory.", go_on
            )
    last = "\n".join(text.splitlines()[-LAST_LINES:])
    return RuntimeError(f"the training processes failed; the whole log is {log}\n{last}")
