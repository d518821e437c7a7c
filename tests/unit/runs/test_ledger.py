"""The ledger of a run: tables of events, and what they add up to."""

from __future__ import annotations

from typing import Any

import pytest

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
    Warned,
)
from llm.runs.ledger import (
    BACKWARDS,
    END_NOT_SEEN,
    ESTIMATE,
    GIB,
    IMPOSSIBLE,
    NO_CPU,
    NO_MEMORY,
    NOTHING,
    RUNS_STILL,
    Account,
    Use,
    rows,
    total,
    uses_of,
)

PRICES = CostsConfig(cpu_hour=0.1, memory_gib_hour=0.01, accelerator_hour={"nvidia.com/gpu": 2.0})
HOUR = 3600.0


def held(uid: str = "a", **changes: Any) -> dict[str, Any]:
    """A node of a training: 4 processors, 8 GiB and two GPUs from second 100 on."""
    asked = {"cpu": 4.0, "memory_bytes": 8 * GIB, "accelerators": {"nvidia.com/gpu": 2.0}}
    return {"step": "train", "pod": f"pod-{uid}", "uid": uid, "node": 0, "started": 100.0, **asked, **changes}


def runs(uid: str = "a", time: float = 100.0, **changes: Any) -> PodRuns:
    return PodRuns(time=time, **held(uid, **changes))


def used(ended: float, uid: str = "a", time: float = 0.0, **changes: Any) -> PodUsed:
    return PodUsed(time=time or ended, ended=ended, **held(uid, **changes))


def own(step: str = "ingest", **changes: Any) -> dict[str, Any]:
    """A step on one machine of two processors."""
    return {"step": step, "started": 10.0, "cpu": 2.0, **changes}


def test_a_pod_counts_its_time_times_all_that_it_asked_for():
    (use,) = uses_of([runs(), used(110.0)])
    assert (use.step, use.seconds, use.cpu_seconds, use.gib_seconds) == ("train", 10.0, 40.0, 80.0)
    assert use.accelerator_seconds == {"nvidia.com/gpu": 20.0}
    assert use.doubts == ()


@pytest.mark.parametrize(
    "events",
    [
        [runs(), runs(), used(110.0)],
        [runs(), used(110.0), used(110.0)],
        [used(110.0)],
        [runs(), used(110.0), RunStarted(time=200.0), runs(time=201.0), used(999.0, time=202.0)],
    ],
    ids=["a start told twice", "an end told twice", "no start told", "a launcher tells all of it again, later"],
)
def test_one_start_of_one_container_counts_once(events: list[Event]):
    assert [use.seconds for use in uses_of(events)] == [10.0]


def test_each_start_and_each_pod_counts():
    events = [used(110.0), used(140.0, started=120.0), used(115.0, uid="b"), used(160.0, uid="c", started=150.0)]
    assert [use.seconds for use in uses_of(events)] == [10.0, 20.0, 15.0, 10.0]


@pytest.mark.parametrize(
    ("events", "now", "seconds", "doubt"),
    [
        ([runs()], 150.0, 50.0, RUNS_STILL),
        ([runs(), Warned(time=130.0, message="x")], None, 30.0, END_NOT_SEEN),
        ([runs(), StepFailed(time=120.0, step="train"), Warned(time=900.0, message="x")], 950.0, 20.0, END_NOT_SEEN),
        ([runs(), StepFinished(time=105.0, step="gate"), Warned(time=130.0, message="x")], None, 30.0, END_NOT_SEEN),
        ([runs(), RunFinished(time=125.0, exit_code=75, seconds=1.0)], 950.0, 25.0, END_NOT_SEEN),
        ([runs(), Warned(time=130.0, message="x"), RunStarted(time=9e4)], 9e5, 30.0, END_NOT_SEEN),
        ([runs(), Warned(time=130.0, message="x"), StepStarted(time=9e4, step="train"), PodRuns(**own("train"))],
         None, 30.0, END_NOT_SEEN),
    ],
    ids=["runs", "killed", "its step failed", "another step ended", "the run ended", "next attempt", "next launcher"],
)  # fmt: skip
def test_a_use_without_an_end_counts_until_the_last_sign_of_it(
    events: list[Event], now: float | None, seconds: float, doubt: str
):
    use = uses_of([RunStarted(time=1.0), *events], now)[0]
    assert (use.seconds, use.doubts) == (seconds, (doubt,))


def test_a_pod_that_the_next_launcher_still_sees_counts_to_its_end():
    events = [RunStarted(time=1.0), runs(), RunStarted(time=200.0), runs(time=210.0), used(300.0, time=301.0)]
    assert [(use.seconds, use.doubts) for use in uses_of(events)] == [(200.0, ())]
    still = uses_of(events[:-1], 250.0)
    assert [(use.seconds, use.doubts) for use in still] == [(150.0, (RUNS_STILL,))]


def test_steps_that_begin_together_on_a_cluster_are_one_attempt():
    events = [RunStarted(time=1.0, kfp_run="r"), runs(), RunStarted(time=101.0, kfp_run="r"), used(110.0, uid="b")]
    assert [use.doubts for use in uses_of(events, 200.0)] == [(RUNS_STILL,), ()]


@pytest.mark.parametrize(
    ("changes", "doubts"),
    [
        ({"cpu": None, "memory_bytes": None, "accelerators": {}}, (NOTHING,)),
        ({"cpu": None}, (NO_CPU,)),
        ({"memory_bytes": None}, (NO_MEMORY,)),
        ({"cpu": None, "memory_bytes": None}, (NO_CPU, NO_MEMORY)),
    ],
)
def test_a_pod_that_asks_for_nothing_counts_nothing_and_is_named(changes: dict[str, Any], doubts: tuple[str, ...]):
    (use,) = uses_of([used(110.0, **changes)])
    assert use.doubts == doubts
    assert use.cpu_seconds == (0.0 if "cpu" in changes else 40.0)
    assert use.gib_seconds == (0.0 if "memory_bytes" in changes else 80.0)


@pytest.mark.parametrize(("ended", "doubt"), [(99.0, BACKWARDS), (1e300, IMPOSSIBLE), (float("nan"), IMPOSSIBLE)])
def test_an_end_that_cannot_be_counts_as_0_and_is_named(ended: float, doubt: str):
    (use,) = uses_of([used(ended, time=1.0)])
    assert (use.seconds, use.cpu_seconds, use.doubts) == (0.0, 0.0, (doubt,))


def test_a_step_on_one_machine_counts_processors_and_no_memory():
    (use,) = uses_of([StepStarted(step="ingest"), PodRuns(**own()), PodUsed(ended=15.0, **own())])
    assert use == Use("ingest", None, 5.0, 10.0, None)


@pytest.mark.parametrize(
    ("events", "uses"),
    [
        ([StepFinished(time=27.0, step="ingest", seconds=16.0)], [Use("ingest", None, 16.0, 32.0, None)]),
        ([StepFailed(time=27.0, step="ingest")], [Use("ingest", None, 17.0, 34.0, None)]),
        ([Warned(time=12.0, message="x"), RunStarted(time=90.0)],
         [Use("ingest", None, 2.0, 4.0, None, doubts=(END_NOT_SEEN,))]),
    ],
    ids=["finished", "failed", "killed"],
)  # fmt: skip
def test_a_run_of_an_earlier_version_is_estimated_and_marked(events: list[Event], uses: list[Use]):
    began = [RunStarted(time=1.0, machine={"cpus": 2}), StepStarted(time=10.0, step="ingest")]
    (use,) = uses_of([*began, *events])
    assert (use.seconds, use.cpu_seconds) == (uses[0].seconds, uses[0].cpu_seconds)
    assert use.doubts == (*uses[0].doubts, ESTIMATE)


def test_an_earlier_version_on_a_cluster_says_the_time_and_not_the_processors():
    began = [RunStarted(time=1.0, kfp_run="r"), StepStarted(time=10.0, step="ingest")]
    account = Account("a", uses_of([*began, StepFinished(time=20.0, step="ingest", seconds=10.0)]))
    (row,) = rows([account], "run")
    assert (row.cpu_seconds, row.gib_seconds, row.notes) == (None, None, (f"1 of 1 uses: {ESTIMATE}",))


def two_runs() -> list[Account]:
    of_one = [
        used(100.0 + HOUR, team="speech"), used(100.0 + HOUR, uid="b", team="speech", node=1),
        PodUsed(ended=10.0 + HOUR, pod="launcher", memory_bytes=GIB, **own("train", team="platform")),
        PodUsed(ended=10.0 + HOUR, **own("ingest")),
    ]  # fmt: skip
    of_two = [used(100.0 + 2 * HOUR, uid="c", team="vision", accelerators={})]
    return [Account("one", uses_of(of_one), PRICES), Account("two", uses_of(of_two), PRICES)]


@pytest.mark.parametrize(
    ("by", "cpu_hours", "gpu_hours", "cost"),
    [
        ("run", {"one": 12.0, "two": 8.0}, {"one": 4.0, "two": 0.0}, {"one": 9.37, "two": 0.96}),
        ("step", {"train": 18.0, "ingest": 2.0}, {"train": 4.0, "ingest": 0.0}, {"train": 10.13, "ingest": 0.2}),
        ("team", {"speech": 8.0, "platform": 2.0, None: 2.0, "vision": 8.0},
         {"speech": 4.0, "platform": 0.0, None: 0.0, "vision": 0.0},
         {"speech": 8.96, "platform": 0.21, None: 0.2, "vision": 0.96}),
    ],
)  # fmt: skip
def test_two_runs_and_their_teams(by: Any, cpu_hours: dict, gpu_hours: dict, cost: dict):
    found = {row.name: row for row in rows(two_runs(), by)}
    assert {name: (row.cpu_seconds or 0) / HOUR for name, row in found.items()} == pytest.approx(cpu_hours)
    gpus = {name: row.accelerator_seconds.get("nvidia.com/gpu", 0.0) / HOUR for name, row in found.items()}
    assert gpus == pytest.approx(gpu_hours)
    assert {name: row.cost for name, row in found.items()} == pytest.approx(cost)


@pytest.mark.parametrize("by", ["run", "step", "team"])
def test_the_rows_add_up_to_the_total_however_they_are_cut(by: Any):
    found, everything = rows(two_runs(), by), total(two_runs())
    for part in ("cpu_seconds", "gib_seconds", "cost"):
        assert sum(getattr(row, part) or 0.0 for row in found) == pytest.approx(getattr(everything, part))
    gpus = sum(row.accelerator_seconds.get("nvidia.com/gpu", 0.0) for row in found)
    assert gpus == pytest.approx(everything.accelerator_seconds["nvidia.com/gpu"])


def test_the_steps_of_a_run_add_up_to_the_run():
    one = two_runs()[:1]
    (run,) = rows(one, "run")
    steps = rows(one, "step")
    assert sum(row.cpu_seconds or 0.0 for row in steps) == pytest.approx(run.cpu_seconds)
    assert sum(row.cost or 0.0 for row in steps) == pytest.approx(run.cost)


def test_without_prices_there_is_no_money():
    row = total([Account("a", uses_of([used(110.0)]))])
    assert (row.cost, row.currency, row.notes) == (None, None, ())


def test_money_of_two_currencies_is_not_added():
    euros = Account("b", uses_of([used(110.0, uid="b")]), PRICES.model_copy(update={"currency": "EUR"}))
    row = total([Account("a", uses_of([used(110.0)]), PRICES), euros])
    assert (row.cost, row.currency) == (None, None)
    assert row.notes == ("no sum of money, since there are prices in EUR, USD",)


def test_an_accelerator_and_a_run_without_a_price_are_named():
    unpriced = Account("a", uses_of([used(110.0, accelerators={"amd.com/gpu": 1.0})]), PRICES)
    row = total([unpriced, Account("b", uses_of([used(110.0, uid="b")]))])
    assert row.notes == (
        "the money leaves out amd.com/gpu: costs.accelerator_hour has no price for it",
        "the money leaves out runs without prices",
    )


def test_a_run_without_uses_and_one_that_cannot_be_read_have_a_row():
    found = rows([Account("a", ()), Account("b", (), problem="it cannot be read")], "run")
    assert [(row.name, row.cpu_seconds, row.notes) for row in found] == [
        ("a", None, ()), ("b", None, ("it cannot be read",)),
    ]  # fmt: skip
