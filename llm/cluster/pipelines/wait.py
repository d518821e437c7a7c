"""Waiting for a run: looking again and again, saying what is new, bearing with a server that is away for a while.

A run itself has no limit, and nor has waiting for a node; what keeps a step from starting and does not go away by
itself has one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llm.cluster.obstacles import Obstacle
from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.kfp_requests import KfpError
from llm.cluster.pipelines.run_state import ACTIVE, FINAL, RunState
from llm.cluster.pipelines.step_pods import StepPod
from llm.errors import UserError
from llm.words import duration

Say = Callable[[str], None]
HEARTBEAT_SECONDS = 30.0
TROUBLES_SECONDS = 10.0
GAP_SECONDS = 25.0
"""An obstacle that two looks do not see is gone; one may miss it: a kubelet's state blinks while it tries again."""
SETTLING_LOOKS = 3
CANCELING = "CANCELING"
WORDS = {
    "PENDING": "waiting for the cluster to begin",
    "RUNNING": "running",
    "PAUSED": "paused; it goes on when whoever paused it lets it",
    CANCELING: "being cancelled",
}


@dataclass(frozen=True)
class Patience:
    """How often to look, and for how long to bear with what."""

    poll_seconds: float = 2.0
    away_seconds: float = 300.0
    """A server that does not answer, or with an error that may pass."""
    cancel_seconds: float = 180.0
    """A run that was asked to end."""


class CannotStart(UserError):
    """What keeps a step from starting has been there for too long to go away by itself."""

    def __init__(self, step: str, obstacle: Obstacle) -> None:
        """Take the step, and what is in its way."""
        super().__init__(obstacle.summary, *obstacle.details)
        self.step, self.summary = step, obstacle.summary


class Narrator:
    """Says what is new about a run, each thing once; without news, a line every 30 s says what goes on."""

    def __init__(self, say: Say) -> None:
        """Take what to say it with."""
        self.say = say
        self._steps: dict[str, str] = {}
        self._troubles: set[tuple[str, str]] = set()
        self._state: str | None = None
        self._said = time.monotonic()

    def look(self, run: RunState) -> None:
        """Tell what changed since the last look."""
        for line in self._news(run):
            self.say(line)
            self._said = time.monotonic()
        if time.monotonic() - self._said >= HEARTBEAT_SECONDS and not run.has_ended:
            running = ", ".join(node.name for node in run.steps if node.state == "RUNNING") or "no step"
            self.say(f"after {duration(run.seconds)}: {running} running")
            self._said = time.monotonic()

    def trouble(self, held_up: Iterable[StepPod]) -> None:
        """Tell what keeps steps from starting, each reason once: a kubelet goes back and forth between some."""
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


class _Standing:
    """How long each obstacle has stood in the way of its pod."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def check(self, held_up: Iterable[StepPod]) -> None:
        """Take in how things stand; raises CannotStart when patience with an obstacle is at an end."""
        now = time.monotonic()
        for pod in held_up:
            if pod.obstacle is None:
                continue
            key = (pod.name, pod.obstacle.kind)
            if now - self._seen.get(key, now) > GAP_SECONDS or key not in self._since:
                self._since[key] = now
            self._seen[key] = now
            if now - self._since[key] >= pod.obstacle.patience_seconds:
                raise CannotStart(pod.step, pod.obstacle)


def wait(
    api: KfpApi,
    run_id: str,
    narrator: Narrator,
    patience: Patience,
    held_up: Callable[[str], Sequence[StepPod]] = lambda run_id: (),
    for_seconds: float | None = None,
) -> RunState:
    """The run at its end, or after `for_seconds` as it stands; `held_up` gives the pods that cannot start.

    Raises KfpError if the server stays away, or refuses; CannotStart if one of those pods never will by itself.
    """
    started = asked = time.monotonic()
    standing = _Standing()
    while True:
        run = look(api, run_id, narrator, patience)
        narrator.look(run)
        now = time.monotonic()
        if run.has_ended:
            return _settled(api, run, narrator, patience)
        if for_seconds is not None and now - started >= for_seconds:
            return run
        if now - asked >= TROUBLES_SECONDS and run.state != CANCELING:
            pods = held_up(run_id)
            standing.check(pods)
            narrator.trouble(pods)
            asked = now
        time.sleep(patience.poll_seconds)


def look(api: KfpApi, run_id: str, narrator: Narrator, patience: Patience) -> RunState:
    """The run as it stands, after as many tries as `patience` allows."""
    away_since: float | None = None
    while True:
        try:
            run = api.get(run_id)
        except KfpError as error:
            now = time.monotonic()
            if not error.may_pass or (away_since is not None and now - away_since >= patience.away_seconds):
                raise
            if away_since is None:
                away_since = now
                first_line = str(error).partition("\n")[0]
                narrator.say(f"{first_line}; trying again for {duration(patience.away_seconds)}, the run goes on")
            time.sleep(patience.poll_seconds)
            continue
        if away_since is not None:
            narrator.say("Kubeflow Pipelines answers again")
        return run


def _settled(api: KfpApi, run: RunState, narrator: Narrator, patience: Patience) -> RunState:
    """The run once its steps have ended too: the server writes them a moment after the run's own end."""
    for _ in range(SETTLING_LOOKS):
        if all(node.state not in ACTIVE for node in run.nodes):
            break
        time.sleep(patience.poll_seconds)
        run = look(api, run.id, narrator, patience)
        narrator.look(run)
    return run
