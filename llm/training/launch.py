"""Starting the ranks on this machine and waiting for them.

No process outlives its parent: the kernel kills torchrun when we die, and each rank when torchrun does, so that
a pipeline killed with SIGKILL leaves nobody writing into the folder.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm.config.sections.training import ParallelConfig
from llm.errors import as_error
from llm.process.children import die_with_parent, dying_with_this_process
from llm.process.cpus import usable_cpus
from llm.process.environment import TORCHRUN_PREFIX, of_a_child
from llm.process.signals import while_signals
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from llm.storage import Objects
from llm.training.death import death, take_faults
from llm.training.guards.hang import STOPPED, Watch, state_of
from llm.training.plan import THREADS, Outcome

WORKER_LOG = "workers.log"
CPUS = "GRISTMILL_CPUS"
"""Environment variable with the processors that are ours, where the machine has more (a pod's request)."""
LAUNCHER_PID = "GRISTMILL_LAUNCHER_PID"
"""Environment variable with the process that torchrun, and through it every rank, must not outlive."""
STOP_SECONDS = 110
"""Seconds that the ranks may take to save after a stop was asked for: less than a pod's grace, which is 120."""
POLL_SECONDS = 0.2


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


def first_of_several(parallel: ParallelConfig) -> Node:
    """The machine of `training.parallel.rendezvous`; the others come to it (`command_to_join`)."""
    host, port = _meet_at(parallel)
    nodes = f"--nnodes={parallel.nodes}"
    return Node(0, (nodes, "--node-rank=0", f"--master-addr={host}", f"--master-port={port}"), {})


def command_to_join(parallel: ParallelConfig, plan_uri: str) -> str:
    """The command of another machine, whose number from 1 stands for N: that of a pod, with what Trainer would say."""
    host, port = _meet_at(parallel)
    variables = {"NODE_RANK": "N", "NNODES": parallel.nodes, "NPROC_PER_NODE": parallel.processes, "MASTER_ADDR": host,
                 "MASTER_PORT": port}  # fmt: skip
    told = " ".join(f"{TORCHRUN_PREFIX}{name}={value}" for name, value in variables.items())
    return f"{told} python -m llm.training.pod {shlex.quote(plan_uri)}"


def _meet_at(parallel: ParallelConfig) -> tuple[str, str]:
    assert parallel.rendezvous is not None
    host, _, port = parallel.rendezvous.rpartition(":")
    return host, port


def launch(
    folder: Path, workspace: Objects, node: Node, processes: int, last_checkpoint: Callable[[], str],
    hang_seconds: float | None, events: EventLog,
) -> None:  # fmt: skip
    """Run the plan in `folder` to its end on that many ranks here; a stop signal is passed on to them.

    `last_checkpoint` says in words where a training that was cut off continues, and `hang_seconds` is the guard's.
    Raises the error that the workers raised for the user; Preempted if a rank or torchrun was killed, or a rank hangs;
    RuntimeError, with the last lines of the rank that failed, for a fault of ours.
    """
    Outcome.reserve(folder)
    take_faults(folder)  # of an attempt that was killed
    log = folder / WORKER_LOG
    watch = Watch(folder, log, hang_seconds, events)
    command = [sys.executable, "-m", "torch.distributed.run", *node.torchrun,
               f"--nproc-per-node={processes}", f"--log-dir={os.devnull}",
               "-m", "llm.training.worker", str(folder)]  # fmt: skip
    log.write_bytes(b"")
    with log.open("ab") as output:  # appended to, since stacks of ranks come in between
        # In a session of its own: Ctrl-C in a terminal reaches us, and we pass it on once.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=_environment(workspace, node, processes), start_new_session=True, preexec_fn=dying_with_this_process(),
        )  # fmt: skip
        stop_requested = _wait(process, watch, events)
    watch.clear()
    outcome, faults = Outcome.take(folder), take_faults(folder)
    if outcome is not None and outcome.exit_code == 0:
        return
    if outcome is not None and not any(fault.at < outcome.at and not fault.lost_a_rank for fault in faults):
        raise as_error(outcome.exit_code, outcome.message)
    raise death(log, faults, process.returncode, stop_requested, last_checkpoint(), watch.silent)


def die_with_launcher() -> None:
    """Let this rank end with torchrun, and at once if the launcher is already gone."""
    launcher = int(os.environ[LAUNCHER_PID])
    die_with_parent(lambda: _parent_of(os.getppid()) == launcher)


def _environment(workspace: Objects, node: Node, processes: int) -> dict[str, str]:
    threads = str(_threads(workspace, node, processes))
    return {**of_a_child(), "OMP_NUM_THREADS": threads, LAUNCHER_PID: str(os.getpid()), **node.environment}


def _threads(workspace: Objects, node: Node, processes: int) -> int:
    """Threads of a rank, fixed at the first launch: their number decides the order of sums, and so the last bits."""
    name = f"{THREADS}{node.number}.json"
    workspace.write(name, json.dumps(max(1, _cores() // processes)).encode(), if_absent=True)
    return int(json.loads(workspace.read(name) or b"1"))


def _cores() -> int:
    if (ours := os.environ.get(CPUS)) is not None:
        return int(ours)
    return usable_cpus()


def _wait(process: subprocess.Popen[bytes], watch: Watch, events: EventLog) -> bool:
    """Wait for the end; a stop signal is passed on to the ranks, which save first. Returns whether one came.

    A rank that hangs is ended with the others, in its time.
    """
    requested_at: float | None = None
    stopped: set[int] = set()

    def stop(number: int) -> None:
        nonlocal requested_at
        requested_at = requested_at or time.monotonic()

    with while_signals(stop):
        try:
            while True:
                try:
                    process.wait(POLL_SECONDS)
                    return requested_at is not None
                except subprocess.TimeoutExpired:
                    ranks = _children(process.pid)
                    if requested_at is None:
                        if watch.look():
                            process.kill()  # and the kernel kills the ranks with it, stopped ones too
                        continue
                    _stop(ranks or (), stopped)
                    for words in _let_go_on(ranks or (), watch):
                        events.emit(Warned(message=words))
                    if (ranks == [] and not stopped) or time.monotonic() > requested_at + STOP_SECONDS:
                        watch.silent = watch.unanswered(ranks or ())
                        process.kill()  # it waits for other nodes, with nothing to save; or its time is over
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _stop(ranks: Iterable[int], stopped: set[int]) -> None:
    """Send SIGTERM to each rank once. Not to torchrun, which would kill the ranks after its own patience."""
    for rank in set(ranks) - stopped:
        stopped.add(rank)
        try:
            os.kill(rank, signal.SIGTERM)
        except ProcessLookupError:
            continue  # ended by itself


def _let_go_on(ranks: Iterable[int], watch: Watch) -> list[str]:
    """Continue the ranks that somebody stopped, since they would never save; returns what was done, in words."""
    done = []
    for rank in ranks:
        if state_of(rank) == STOPPED:
            done.append(f"{watch.unanswered([rank])[0]}: it was let go on, so that it can save")
            with suppress(ProcessLookupError):
                os.kill(rank, signal.SIGCONT)
    return done


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
