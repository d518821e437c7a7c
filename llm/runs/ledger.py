"""The ledger: what a run took of processors, memory and accelerators, for how long, and what that costs.

Pure: events in, uses and rows out. A use is one start of one container (or of one process on one machine): the time
that it ran times what it asked for. It counts once, however often the log tells it. All attempts of a run count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llm.config import CostsConfig
from llm.runs.event_kinds import (
    Event,
    PodRuns,
    PodUsed,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepStarted,
    Usage,
)

GIB = 1 << 30
By = Literal["run", "step", "team"]

LONGEST_SECONDS = 100 * 365 * 86400.0
"""A longer time is a damaged log."""

RUNS_STILL = "still running, counted until now"
END_NOT_SEEN = "no end in the log, counted up to the last event before"
BACKWARDS = "ended before it began by its clock, counted as 0"
IMPOSSIBLE = "an impossible time, counted as 0"
NOTHING = "asked for nothing, counted as 0"
NO_CPU, NO_MEMORY = "asked for no CPU, counted as 0", "asked for no memory, counted as 0"
ESTIMATE = "estimated from the time of the step, since an earlier version wrote no more"


@dataclass(frozen=True)
class Use:
    """One start of one container; None: not known."""

    step: str
    team: str | None
    seconds: float
    cpu_seconds: float | None
    gib_seconds: float | None
    accelerator_seconds: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    """Reasons why the figures are not exact."""

    def cost(self, prices: CostsConfig) -> float:
        """Its price; a part that is not known, or has no price, costs nothing."""
        seconds = (self.cpu_seconds or 0.0) * prices.cpu_hour + (self.gib_seconds or 0.0) * prices.memory_gib_hour
        for name, one in self.accelerator_seconds.items():
            seconds += one * prices.accelerator_hour.get(name, 0.0)
        return seconds / 3600


@dataclass(frozen=True)
class Account:
    """The uses of one run, and its prices."""

    run: str
    uses: Sequence[Use]
    prices: CostsConfig = field(default_factory=CostsConfig)
    problem: str | None = None
    """A part of the run that could not be read."""


@dataclass(frozen=True)
class Row:
    """A line of the table; None: not known."""

    name: str | None
    """The run, the step or the team; None: the uses without a team."""
    cpu_seconds: float | None
    gib_seconds: float | None
    accelerator_seconds: Mapping[str, float]
    cost: float | None
    """None without prices, or with several currencies."""
    currency: str | None
    notes: tuple[str, ...]


def uses_of(events: Sequence[Event], now: float | None = None) -> list[Use]:
    """The uses that a log tells, in the order of their beginnings; `now` if a process works at the run still."""
    log = _Log(events, now)
    used = {event.key: event for event in reversed(events) if isinstance(event, PodUsed)}  # the first that was told
    last_seen = {event.key: place for place, event in enumerate(events) if isinstance(event, PodRuns)}
    found: list[Use] = []
    taken: set[tuple[str, str, float]] = set()
    for place, event in enumerate(events):
        if isinstance(event, StepStarted) and not log.tells_its_use(place):
            found.append(_estimate(log, place, event))
        if not isinstance(event, PodRuns | PodUsed) or event.key in taken:
            continue
        taken.add(event.key)
        if (end := used.get(event.key)) is not None:
            found.append(_use(end, end.ended))
        else:
            found.append(_use(event, *log.end_of(event.step, last_seen[event.key])))
    return found


def rows(accounts: Iterable[Account], by: By) -> list[Row]:
    """One row a run, step or team, in the order in which they appear; a run without any use has a row too."""
    groups: dict[str | None, list[tuple[Use, CostsConfig]]] = {}
    problems: dict[str | None, list[str]] = {}
    for account in accounts:
        if by == "run":
            groups.setdefault(account.run, [])
            problems[account.run] = [account.problem] if account.problem else []
        for use in account.uses:
            name = {"run": account.run, "step": use.step, "team": use.team}[by]
            groups.setdefault(name, []).append((use, account.prices))
    return [_row(name, priced, problems.get(name, ())) for name, priced in groups.items()]


def total(accounts: Sequence[Account]) -> Row:
    """All of it in one row, with the problems of all runs."""
    problems = [f"{account.run}: {account.problem}" for account in accounts if account.problem]
    return _row("total", [(use, account.prices) for account in accounts for use in account.uses], problems)


class _Log:
    """A log, and where in it the work of a step ends."""

    def __init__(self, events: Sequence[Event], now: float | None) -> None:
        self.events, self._now = events, now
        self._attempts = [0] * len(events)
        """The number of the attempt that each event is of; steps that begin side by side each say that it began."""
        number, kfp_run = 0, None
        for place, event in enumerate(events):
            if isinstance(event, RunStarted) and (kfp_run is None or event.kfp_run != kfp_run):
                number, kfp_run = number + 1, event.kfp_run
            self._attempts[place] = number

    def tells_its_use(self, place: int) -> bool:
        """Whether the step that began here writes down what it holds."""
        step = self._step(place)
        for event in self.events[place + 1 :]:
            if isinstance(event, Usage) and event.node is None and event.step == step:
                return True
            if isinstance(event, StepStarted | StepFinished | StepFailed) and event.step == step:
                return False
        return False

    def end_of(self, step: str, place: int) -> tuple[float, str | None]:
        """When a use ended that was last seen here and has no end of its own, and the doubt about it."""
        attempt = self._attempts[place]
        for later in range(place + 1, len(self.events)):
            event = self.events[later]
            if self._attempts[later] != attempt or (isinstance(event, StepStarted) and event.step == step):
                return self.events[later - 1].time, END_NOT_SEEN
            if isinstance(event, RunFinished) or (isinstance(event, StepFinished | StepFailed) and event.step == step):
                return event.time, END_NOT_SEEN
        return (self.events[-1].time, END_NOT_SEEN) if self._now is None else (self._now, RUNS_STILL)

    def end_of_step(self, place: int) -> tuple[float, str | None]:
        """When the step that began here ended."""
        step = self._step(place)
        for event in self.events[place + 1 :]:
            if isinstance(event, StepFinished | StepFailed) and event.step == step:
                return event.time if event.seconds is None else self.events[place].time + event.seconds, None
            if isinstance(event, StepStarted) and event.step == step:
                break
        return self.end_of(step, place)

    def machine_cpus(self, place: int) -> float | None:
        """Processors of the machine of the attempt; None if it did not say them, as on a cluster."""
        of_attempt = (event for here, event in enumerate(self.events) if self._attempts[here] == self._attempts[place])
        began = next((event for event in of_attempt if isinstance(event, RunStarted)), None)
        cpus = (began.machine or {}).get("cpus") if began is not None else None
        return float(cpus) if isinstance(cpus, int | float) else None

    def _step(self, place: int) -> str:
        event = self.events[place]
        assert isinstance(event, StepStarted)
        return event.step


def _use(event: Usage, ended: float, doubt: str | None = None) -> Use:
    seconds, doubts = _seconds(event.started, ended, doubt)
    if event.pod is not None and not event.accelerators and event.cpu is None and event.memory_bytes is None:
        doubts.append(NOTHING)
    elif event.pod is not None:
        doubts += [words for words, held in ((NO_CPU, event.cpu), (NO_MEMORY, event.memory_bytes)) if held is None]
    is_process = event.pod is None
    memory = None if is_process else seconds * (event.memory_bytes or 0) / GIB
    return Use(
        event.step, event.team, seconds, seconds * (event.cpu or 0.0), memory,
        {name: seconds * count for name, count in event.accelerators.items()}, tuple(doubts),
    )  # fmt: skip


def _estimate(log: _Log, place: int, event: StepStarted) -> Use:
    seconds, doubts = _seconds(event.time, *log.end_of_step(place))
    cpus = log.machine_cpus(place)
    return Use(event.step, None, seconds, None if cpus is None else seconds * cpus, None, {}, (*doubts, ESTIMATE))


def _seconds(started: float, ended: float, doubt: str | None) -> tuple[float, list[str]]:
    doubts = [doubt] if doubt else []
    if ended < started:
        return 0.0, [*doubts, BACKWARDS]
    if not ended - started < LONGEST_SECONDS:  # NaN too
        return 0.0, [*doubts, IMPOSSIBLE]
    return ended - started, doubts


def _row(name: str | None, priced: Sequence[tuple[Use, CostsConfig]], problems: Iterable[str] = ()) -> Row:
    accelerators: dict[str, float] = {}
    for use, _ in priced:
        for resource, seconds in use.accelerator_seconds.items():
            accelerators[resource] = accelerators.get(resource, 0.0) + seconds
    currencies = {prices.currency for _, prices in priced if prices.are_set}
    cost = sum(use.cost(prices) for use, prices in priced) if len(currencies) == 1 else None
    return Row(
        name, _sum(priced, lambda use: use.cpu_seconds), _sum(priced, lambda use: use.gib_seconds), accelerators,
        cost, min(currencies) if len(currencies) == 1 else None, (*problems, *_notes(priced, currencies)),
    )  # fmt: skip


def _sum(priced: Sequence[tuple[Use, CostsConfig]], part: Callable[[Use], float | None]) -> float | None:
    """The sum of what is known; None if nothing is."""
    known = [one for use, _ in priced if (one := part(use)) is not None]
    return sum(known) if known else None


def _notes(priced: Sequence[tuple[Use, CostsConfig]], currencies: set[str]) -> list[str]:
    doubts = Counter(doubt for use, _ in priced for doubt in use.doubts)
    notes = [f"{count} of {len(priced)} uses: {doubt}" for doubt, count in doubts.items()]
    if len(currencies) > 1:
        notes.append(f"no sum of money, since there are prices in {', '.join(sorted(currencies))}")
    unpriced = {
        name for use, prices in priced if prices.are_set for name in use.accelerator_seconds
        if name not in prices.accelerator_hour
    }  # fmt: skip
    notes += [f"the money leaves out {name}: costs.accelerator_hour has no price for it" for name in sorted(unpriced)]
    if any(not prices.are_set for _, prices in priced) and currencies:
        notes.append("the money leaves out runs without prices")
    return notes
