"""Waiting for a run: look, say what is new, look again. An outage of the server is waited out.

A run may take any time, and so may waiting for a node. An obstacle that keeps a step from starting, and does not go
away by itself, ends the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm.cluster.obstacles import Obstacle, ObstacleClock
from llm.cluster.patience import CLOCK, Clock, patiently
from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.run_state import ACTIVE, FINAL, RunState
from llm.errors import UserError
from llm.words import duration

Say = Callable[[str], None]
HEARTBEAT_SECONDS = 30.0
TROUBLES_SECONDS = 10.0
GAP_SECONDS = 25.0
"""An obstacle that two looks do not see is gone; one look may miss it."""
SETTLING_LOOKS = 3
CANCELING = "CANCELING"
WORDS = {
    "PENDING": "waiting for the cluster to begin",
    "RUNNING": "running",
    "PAUSED": "paused, until somebody resumes it",
    CANCELING: "being cancelled",
}


class HeldUp(Protocol):
    """A pod that does not start, or that the API server did not take."""

    @property
    def name(self) -> str:
        """A name to count its time by."""

    @property
    def step(self) -> str:
        """Its step."""

    @property
    def trouble(self) -> str | None:
        """The reason in a line."""

    @property
    def obstacle(self) -> Obstacle | None:
        """The obstacle to its start that does not go away by itself; None if it may."""


@dataclass(frozen=True)
class Limits:
    """Seconds between two looks at a run, and limits of each wait. A test passes its own, or moves the clock."""

    poll_seconds: float = 2.0
    away_seconds: float = 300.0
    """For a server that does not answer, or answers with an error that may pass."""
    cancel_seconds: float = 180.0
    """For a run that was asked to end."""
    clock: Clock = CLOCK


class CannotStart(UserError):
    """An obstacle that keeps a step from starting has been there for too long to go away by itself."""

    def __init__(self, step: str, obstacle: Obstacle) -> None:
        """Take the step and its obstacle."""
        super().__init__(obstacle.summary, *obstacle.details)
        self.step, self.summary = step, obstacle.summary


class RunPrinter:
    """Says what is new about a run, each thing once; without news, a line every 30 s says which steps run."""

    def __init__(self, say: Say, clock: Clock = CLOCK) -> None:
        """Give each line to `say`."""
        self.say, self._clock = say, clock
        self._steps: dict[str, str] = {}
        self._troubles: set[tuple[str, str]] = set()
        self._state: str | None = None
        self._said = self._clock.now()

    def look(self, run: RunState) -> None:
        """Say what changed since the last look."""
        for line in self._news(run):
            self.say(line)
            self._said = self._clock.now()
        if self._clock.now() - self._said >= HEARTBEAT_SECONDS and not run.has_ended:
            running = ", ".join(node.name for node in run.steps if node.state == "RUNNING") or "no step"
            self.say(f"after {duration(run.seconds)}: {running} running")
            self._said = self._clock.now()

    def trouble(self, held_up: Iterable[HeldUp]) -> None:
        """Print why steps do not start, each reason once: a kubelet goes back and forth between some."""
        for pod in held_up:
            reason = (pod.step, str(pod.trouble).partition(":")[0])
            if reason not in self._troubles:
                self.say(f"{pod.step:12}cannot start yet: {pod.trouble}")
                self._troubles.add(reason)

    def _news(self, run: RunState) -> Iterator[str]:
        if run.state != self._state and not run.has_ended:
            yield f"the run is {WORDS.get(run.state, f'{run.state}, a state that we do not know; waiting for its end')}"
        self._state = run.state
        for node in run.steps:
            before, self._steps[node.name] = self._steps.get(node.name), node.state
            if before == node.state:
                continue
            if node.state in FINAL:
                word = node.state if node.state == "FAILED" else node.state.lower()
                yield f"{node.name:12}{word} after {duration(node.seconds)}"
            elif before is None:
                yield f"{node.name:12}started"


def wait(
    api: KfpApi,
    run_id: str,
    printer: RunPrinter,
    limits: Limits,
    held_up: Callable[[str], Sequence[HeldUp]] = lambda run_id: (),
    for_seconds: float | None = None,
) -> RunState:
    """The run at its end, or as it is after `for_seconds`; `held_up` gives the pods that cannot start.

    Raises Unreachable if the server stays away, Refused if it refuses; CannotStart if one of those pods will never
    start by itself.
    """
    started = asked = limits.clock.now()
    obstacles = ObstacleClock(GAP_SECONDS)
    while True:
        run = look(api, run_id, printer, limits)
        printer.look(run)
        now = limits.clock.now()
        if run.has_ended:
            return _settled(api, run, printer, limits)
        if for_seconds is not None and now - started >= for_seconds:
            return run
        if now - asked >= TROUBLES_SECONDS and run.state != CANCELING:
            pods = held_up(run_id)
            obstacles = check_obstacles(obstacles, pods, now)
            printer.trouble(pods)
            asked = now
        limits.clock.sleep(limits.poll_seconds)


def check_obstacles(obstacles: ObstacleClock, pods: Iterable[HeldUp], now: float) -> ObstacleClock:
    """The clock after a look at `now`; raises CannotStart when patience with an obstacle is at an end."""
    there = [(pod, pod.obstacle) for pod in pods if pod.obstacle is not None]
    obstacles = obstacles.see([(pod.name, obstacle.kind) for pod, obstacle in there], now)
    for pod, obstacle in there:
        if obstacles.lasts((pod.name, obstacle.kind)) >= obstacle.patience_seconds:
            raise CannotStart(pod.step, obstacle)
    return obstacles


def look(api: KfpApi, run_id: str, printer: RunPrinter, limits: Limits) -> RunState:
    """The run as it is now; an outage of the server is waited out."""
    return patiently(
        lambda: api.get(run_id), limits.away_seconds, printer.say, "Kubeflow Pipelines",
        clock=limits.clock, meanwhile=", the run goes on",
    )  # fmt: skip


def _settled(api: KfpApi, run: RunState, printer: RunPrinter, limits: Limits) -> RunState:
    """The run once its steps have ended too: the server writes their ends a moment after the run's own."""
    for _ in range(SETTLING_LOOKS):
        if all(node.state not in ACTIVE for node in run.nodes):
            break
        limits.clock.sleep(limits.poll_seconds)
        run = look(api, run.id, printer, limits)
        printer.look(run)
    return run
