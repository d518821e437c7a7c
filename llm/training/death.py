"""Why the ranks of a node ended: the root cause, out of what each of them left and of what torchrun wrote.

When one rank ends, torchrun ends the others with SIGTERM, and those that wait for it lose their connection. So the end
of most ranks is only a consequence. The causes are looked for in this order:

0. A device failed, as a rank's own words say (`llm.training.guards.device_fault`): out of memory (2), or broken (75).
1. A rank failed by its own fault: it left its traceback, and did not merely lose another rank. A fault of ours.
2. A rank crashed (SIGSEGV and the like): it has left nothing but torchrun's note of it. A fault of ours.
3. A rank did not answer while no step came (`llm.training.guards.hang`): an outage.
   NCCL ended ranks that waited for another one: an outage too.
   The machines did not meet (`llm.training.guards.meeting`): an outage, or a port that is in use (2).
4. A rank was killed (SIGKILL: the kernel for lack of memory, or somebody): a preemption.
5. Other signals, the end of torchrun itself, and lost connections, whose cause is on another node: preemptions too.
6. Anything else: a fault of ours, with the end of the log.
"""

from __future__ import annotations

import json
import re
import signal
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm.errors import Preempted
from llm.training.guards.device_fault import NCCL, device_fault, waited_in_vain
from llm.training.guards.meeting import not_met

FAULT = "fault-"
LAST_LINES = 15
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
KILLS = (signal.SIGKILL, signal.SIGABRT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The likelier cause first: torchrun sends SIGTERM, and a library aborts when it loses another rank."""

_RANK_DEATH = re.compile(r"rank\s*: (\d+) \(local_rank.*?exitcode\s*: (-?\d+)", re.DOTALL)
"""The line of torchrun's log that names a rank that failed, and its code (negative: the signal)."""
_LOST_CONNECTION = re.compile(r"connection (closed|reset|refused)|broken pipe|socket timeout|gloo.*timed? ?out", re.I)


@dataclass(frozen=True)
class Fault:
    """The outcome that a rank with an error of ours left."""

    at: float
    """Seconds since 1970: the first of several is the cause."""
    rank: int
    lost_a_rank: bool
    """Whether it only lost its connection to another rank."""
    traceback: str


def leave_fault(folder: Path, rank: int, error: BaseException) -> None:
    """Record the error of a rank that is about to end."""
    at = time.time()  # before anything that takes time: the other ranks fail of our end
    lines = "".join(traceback.format_exception(error))
    fault = {"at": at, "rank": rank, "lost_a_rank": is_lost_connection(error), "traceback": lines}
    (folder / f"{FAULT}{rank}.json").write_text(json.dumps(fault))


def is_lost_connection(error: BaseException) -> bool:
    """Whether a collective operation failed since another rank is gone."""
    words = str(error)
    return isinstance(error, RuntimeError) and any(one.search(words) for one in (_LOST_CONNECTION, NCCL))


def take_faults(folder: Path) -> list[Fault]:
    """Read and remove the records of the ranks, the first one first."""
    faults = []
    for path in folder.glob(f"{FAULT}*.json"):
        with suppress(ValueError):  # cut off by a kill
            faults.append(Fault(**json.loads(path.read_text())))
        path.unlink(missing_ok=True)
    return sorted(faults, key=lambda fault: fault.at)


def death(
    log: Path, faults: list[Fault], torchrun_code: int, stop_requested: bool, last_checkpoint: str,
    silent: Sequence[str] = (),
) -> Exception:  # fmt: skip
    """The error when the ranks ended without an outcome; `last_checkpoint` says where the training continues.

    `silent`: the ranks that did not answer in the end, in words.
    """
    again = f"{last_checkpoint} Run the same command to go on."
    for fault in faults:
        if (found := device_fault(fault.traceback, fault.rank, again)) is not None:
            return found
    for fault in faults:
        if not fault.lost_a_rank:
            return _of_ours(f"rank {fault.rank} of the training failed", log, fault.traceback)
    text = log.read_text(errors="replace") if log.exists() else ""
    signals = {-int(code): int(rank) for rank, code in reversed(_RANK_DEATH.findall(text))}
    if not stop_requested and (found := device_fault(text, signals.get(signal.SIGABRT), again)) is not None:
        return found
    for number in CRASHES:
        if number in signals:
            return _of_ours(f"rank {signals[number]} of the training crashed ({number.name})", log, text)
    if stop_requested and silent:
        return Preempted(f"stopped on request, and nothing was saved at that: {', '.join(silent)}", again)
    if stop_requested:
        return Preempted("stopped on request before a rank could save", again)
    if silent:
        return Preempted(
            f"no step of the training came for long: {', '.join(silent)}", f"The stacks are in {log}.", again
        )
    if (waited := waited_in_vain(text, again) or not_met(text, again)) is not None:
        return waited
    for number in KILLS:
        if number in signals:
            what = f"rank {signals[number]} of the training was killed ({number.name})"
            return Preempted(what, "By hand, or for lack of memory.", again)
    if torchrun_code < 0:
        name = signal.Signals(-torchrun_code).name
        what = f"torchrun, which watches the ranks of the training, was killed ({name})"
        return Preempted(what, "By hand, or for lack of memory.", again)
    if faults:
        return Preempted(f"rank {faults[0].rank} of the training lost the connection to another rank", again)
    return _of_ours("the training processes failed", log, text)


def _of_ours(what: str, log: Path, text: str) -> RuntimeError:
    last = "\n".join(text.splitlines()[-LAST_LINES:])
    return RuntimeError(f"{what}; the whole log is {log}\n{last}")
