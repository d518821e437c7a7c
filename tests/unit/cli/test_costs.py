"""`gristmill costs`: tables of runs on this machine and in S3, with what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llm.cli import cli
from llm.config import CostsConfig, RunConfig, to_yaml
from llm.errors import UserError
from llm.runs import RunFolder
from llm.runs.event_kinds import Event, PodRuns, PodUsed, RunStarted, StepFinished, StepStarted
from llm.runs.events import EventLog, event_line
from llm.storage import only_process_in, open_objects

HOUR = 3600.0
PRICES = CostsConfig(cpu_hour=0.04, accelerator_hour={"nvidia.com/gpu": 2.5})
Costs = Callable[..., list[str]]


def node(uid: str, hours: float, **changes: Any) -> PodUsed:
    """A node of a training that ran for so many hours."""
    asked = {"cpu": 8.0, "memory_bytes": 64 << 30, "accelerators": {"nvidia.com/gpu": 4.0}}
    held = {"step": "train", "pod": f"pod-{uid}", "uid": uid, "node": 0, "started": 0.0, **asked, **changes}
    return PodUsed(ended=hours * HOUR, **held)


def here(step: str, hours: float, **changes: Any) -> PodUsed:
    return PodUsed(**{"step": step, "started": 0.0, "cpu": 2.0, **changes}, ended=hours * HOUR)


TRAINED = (node("a", 1.5, team="speech"), node("b", 0.5, team="speech"), here("ingest", 0.25))
"""A training of two attempts, and a step."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def costs(runs: Path) -> Costs:
    """The lines that `gristmill costs` prints; raises the error of a command that is refused."""

    def call(*arguments: str, root: str | None = None) -> list[str]:
        done = CliRunner().invoke(cli, ["costs", "--runs", root or str(runs), *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    return call


def make(runs: Path, name: str, *events: Event, prices: CostsConfig | None = None) -> RunFolder:
    folder = RunFolder(runs / name)
    for event in events:
        EventLog(folder.events).emit(event)
    if prices is not None:
        folder.write_config(to_yaml(RunConfig(costs=prices)))
    return folder


def test_a_run_by_step_with_its_money(runs: Path, costs: Costs):
    make(runs, "one", *TRAINED, prices=PRICES)
    assert costs("one") == [
        "            CPU hours  GiB hours  nvidia.com/gpu hours            cost",
        "train              16        128                     8       20.64 USD",
        "ingest            0.5        n/a                     0        0.02 USD",
        "total            16.5        128                     8       20.66 USD",
    ]


def test_all_runs_without_prices_have_no_money(runs: Path, costs: Costs):
    make(runs, "one", here("ingest", 0.25))
    assert costs() == [
        "           CPU hours  GiB hours  GPU hours",
        "one              0.5        n/a          0",
        "total            0.5        n/a          0",
    ]


def test_two_runs_and_two_teams(runs: Path, costs: Costs):
    make(runs, "one", *TRAINED)
    make(runs, "two", node("c", 1.0, team="vision", accelerators={}))
    assert sorted(line.split()[0] for line in costs()[1:-1]) == ["one", "two"]
    teams = {line.rpartition(")")[0] or line.split()[0]: line.split()[-3:] for line in costs("--by", "team")[1:]}
    assert teams == {
        "speech": ["16", "128", "8"], "(no team": ["0.5", "n/a", "0"], "vision": ["8", "64", "0"],
        "total": ["24.5", "192", "8"],
    }  # fmt: skip


def test_prices_of_the_command_line_replace_those_of_the_run(runs: Path, costs: Costs):
    make(runs, "one", *TRAINED, prices=PRICES)
    assert costs("one", "costs.currency=EUR")[-1].endswith("20.66 EUR")
    assert costs("one", "costs.cpu_hour=1")[-1].endswith("36.50 USD")
    assert costs("costs.accelerator_hour={nvidia.com/gpu: 0}", "costs.cpu_hour=0.1")[-1].endswith("1.65 USD")


def test_one_document_has_seconds_and_null_for_what_is_not_known(runs: Path, costs: Costs):
    make(runs, "one", *TRAINED, prices=PRICES)
    document = json.loads("\n".join(costs("--by", "team", "--json")))
    speech, none = document["rows"]
    assert (speech["name"], none["name"]) == ("speech", None)
    assert speech["accelerator_seconds"] == {"nvidia.com/gpu": 8 * HOUR}
    assert (none["cpu_seconds"], none["gib_seconds"]) == (0.5 * HOUR, None)
    assert document["total"]["cost"] == pytest.approx(20.66)
    assert document["total"]["currency"] == "USD"


def test_figures_that_are_not_exact_have_a_star_and_a_reason(runs: Path, costs: Costs):
    earlier = (RunStarted(machine={"cpus": 2}), StepStarted(step="gate"), StepFinished(step="gate", seconds=1800.0))
    bare = node("a", 1.0, cpu=None, memory_bytes=None, accelerators={})
    make(runs, "one", bare, node("b", -1.0), *earlier)
    table = costs()
    assert table[1].split() == ["one*", "1", "0", "0"]
    make(runs, "two", node("c", 1.0, cpu=None, memory_bytes=None, accelerators={}))
    assert not [line for line in costs() if line.startswith("total:")], "doubts stand at their rows"
    assert table[3:] == [
        "* one: 1 of 3 uses: asked for nothing, counted as 0",
        "* one: 1 of 3 uses: ended before it began by its clock, counted as 0",
        "* one: 1 of 3 uses: estimated from the time of the step, since an earlier version wrote no more",
    ]


def test_damaged_runs_are_listed_with_what_is_wrong_and_hide_no_other(runs: Path, costs: Costs):
    make(runs, "whole", here("ingest", 1.0))
    torn = make(runs, "torn", here("ingest", 1.0))
    with torn.events.open("ab") as file:
        file.write(b"\0\xff\n[1]\n")
    make(runs, "config", here("ingest", 1.0)).config.write_text("run: [")
    make(runs, "bytes", here("ingest", 1.0)).config.write_bytes(b"\xff\xfe")
    locked = make(runs, "folder", here("ingest", 1.0))
    locked.config.mkdir()
    (runs / "of-a-link").mkdir()
    (runs / "of-a-link" / "events.jsonl").symlink_to("not-synced-yet")
    table = costs()
    hours = {line.split()[0]: line.split()[1] for line in table[1:7]}
    assert hours == {"whole": "2", "torn": "2", "config*": "2", "bytes*": "2", "folder": "2", "total": "10"}
    assert sorted(line[: line.index("damaged: ") + 7] for line in table[7:]) == [
        f"* {name}: no prices, since its config.yaml is damaged" for name in ("bytes", "config")
    ]


@pytest.mark.parametrize("arguments", [["one"], ["--by", "team"]])
def test_a_damaged_run_is_named_however_the_sum_is_cut(runs: Path, costs: Costs, arguments: list[str]):
    make(runs, "one", here("ingest", 1.0)).config.write_text("run: [")
    table = costs(*arguments)
    assert len(table) == 4
    assert table[-1].startswith("total: one: no prices, since its config.yaml is damaged: ")


def test_a_run_that_works_now_counts_until_now(runs: Path, costs: Costs):
    folder = make(runs, "one", PodRuns(step="ingest", started=0.0, cpu=2.0, time=10.0))
    assert costs()[-1] == "* one: 1 of 1 uses: no end in the log, counted up to the last event before"
    with only_process_in(folder.path):
        table = costs()
    assert table[-1] == "* one: 1 of 1 uses: still running, counted until now"
    assert float(table[1].split()[1].replace(",", "")) > 400_000, "since 1970, by this test's event"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one", "two"], "one and two are two runs"),
        (["three"], "there is no run three in "),
        (["../one"], "'../one' is not the name of a run"),
        (["model=small"], "model=small is no price"),
        (["training.seed=1"], "training.seed=1 is no price"),
        (["costs.cpu_hour=-1"], "costs.cpu_hour=-1 is not allowed"),
        (["costs.accelerator_hour={a gpu: 1}"], "'a gpu' is no resource of accelerators"),
    ],
)
def test_what_cannot_be_meant_is_refused(runs: Path, costs: Costs, arguments: list[str], message: str):
    make(runs, "one", *TRAINED)
    make(runs, "two", *TRAINED)
    with pytest.raises(UserError) as raised:
        costs(*arguments)
    assert str(raised.value).startswith(message) or message in str(raised.value)


def test_a_folder_without_runs_says_so(runs: Path, costs: Costs):
    assert costs() == [f"no runs in {runs}; make one with `gristmill run pretrain`"]
    assert json.loads("\n".join(costs("--json")))["rows"] == []


def test_runs_in_s3_are_read_where_they_are(s3: str, costs: Costs):
    root = f"{s3}/runs"
    config = to_yaml(RunConfig(costs=PRICES)).encode()
    for name, part in (("one", "000000000000001"), ("two", "000000000000002")):
        home = open_objects(root).below(name)
        home.write("config.yaml", config if name == "one" else b"run: [")
        home.write(f"events/{part}-ingest.jsonl", event_line(here("ingest", 0.25)).encode() + b"\n")
        home.write(f"events/{part}-train.jsonl", event_line(node("a", 1.5)).encode())
    assert sorted(line.split()[0] for line in costs(root=root)[1:3]) == ["one", "two*"]
    assert costs("one", root=root)[1:3] == [
        "ingest            0.5        n/a                     0        0.02 USD",
        "train              12         96                     6       15.48 USD",
    ]
    with pytest.raises(UserError, match=r"there is no run three in s3://"):
        costs("three", root=root)
    with pytest.raises(UserError, match=r"'one/events' is not the name of a run"):
        costs("one/events", root=root)


def test_a_log_that_may_not_be_read_is_named_and_hides_no_other(
    runs: Path, costs: Costs, monkeypatch: pytest.MonkeyPatch
):
    make(runs, "whole", here("ingest", 1.0))
    make(runs, "of-another-user", here("ingest", 1.0))
    read = EventLog.read

    def refuse(log: EventLog) -> list[Event]:
        if log.path.parent.name == "whole":
            return read(log)
        raise PermissionError(13, "Permission denied", str(log.path))  # root may read everything

    monkeypatch.setattr(EventLog, "read", refuse)
    table = costs()
    assert {line.split()[0]: line.split()[1] for line in table[1:4]} == {
        "whole": "2", "of-another-user*": "n/a", "total": "2",
    }  # fmt: skip
    assert table[4].startswith("* of-another-user: it cannot be read: [Errno 13] Permission denied")
