"""Why a training failed: what its user must know, out of all that its pods said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm.cluster.trainjobs.follower.endings import Ending
from llm.errors import GateNotPassed, GristmillError, Preempted, UserError, ValidationFailed, as_error
from llm.runs.events import parse_event

FINAL = tuple(kind.exit_code for kind in (UserError, ValidationFailed, GateNotPassed))
"""Codes with which the pools end a training for good: it would end so again."""
STOPPED = Preempted.exit_code
LAST_LINES = 15


def cause(endings: Iterable[Ending]) -> Ending | None:
    """The ending to blame: a final one, else the first of the last attempt that was not a stop on request.

    When a pod dies, the others end too: they lose their connections, or get a signal to save and stop. So the first to
    end is the cause. A stop is the cause only if there is nothing else.
    """
    failed = [ending for ending in endings if ending.exit_code != 0]
    final = [ending for ending in failed if ending.exit_code in FINAL]
    if final:
        return max(final, key=lambda ending: (ending.attempt, bool(ending.message), -ending.index))
    last = [ending for ending in failed if ending.attempt == max(other.attempt for other in failed)]
    return min(last, key=lambda ending: (ending.exit_code == STOPPED, ending.at, ending.index), default=None)


def as_raised(ending: Ending, name: str, why: Sequence[str]) -> GristmillError:
    """The error to raise: of the trainer's class, in its words, with the pod and the cluster's reasons.

    The error of a crash has the last lines of its log.
    """
    about = (f"{ending}, and TrainJob {name} has failed", *why)
    if ending.exit_code in FINAL and ending.exit_code is not None:
        return as_error(ending.exit_code, _lines(_words(ending) or f"TrainJob {name} failed", *about))
    if ending.exit_code == STOPPED:
        words = _words(ending) or "the training was stopped"
        return Preempted(words, *about, "Run the same command again to go on from the last checkpoint.")
    return GristmillError(f"the training failed: {ending}", *_quoted(ending), *why)


def _words(ending: Ending) -> str:
    """The trainer's last words. Kubernetes may put the end of the log in their place: then without its events."""
    return "\n".join(line for line in ending.message.splitlines() if not is_event(line)).removeprefix("error: ").strip()


def _quoted(ending: Ending) -> tuple[str, ...]:
    lines = [line for line in ending.last_lines if not is_event(line)][-LAST_LINES:]
    words = _words(ending) if ending.exit_code is not None else ""
    quoted = [line for line in words.splitlines() if line not in lines]
    return (*quoted, *(("Its log ended with:", *(f"  {line}" for line in lines)) if lines else ()))


def is_event(line: str) -> bool:
    """Whether a line of a log is one of the run's events, and not text."""
    return parse_event(line) is not None


def _lines(first: str, *details: str) -> str:
    return "\n  ".join((first, *details))
