"""A step writes down what it holds itself, however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.config import RunConfig, compose, to_yaml
from llm.errors import Preempted
from llm.process.cpus import usable_cpus
from llm.runs.event_kinds import PodRuns, PodUsed, StepFailed, StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.runs.ledger import uses_of
from llm.runs.origin import KFP_RUN
from llm.steps import STEPS, Context, Given, Step, open_context, report_component, run_step
from llm.steps import usage as module
from llm.steps.usage import accounted
from llm.storage import Manifest

MANIFEST = Manifest(kind="corpus", id="0" * 16, uri="s3://bucket/x", files=())
PODS = ["pods.steps.train.cpu_request=3", "pods.steps.train.memory_request=6Gi", "pods.steps.train.cpu_limit=4",
        "pods.steps.train.memory_limit=8Gi", "pods.steps.train.accelerator=nvidia.com/gpu",
        "pods.steps.train.accelerators=2", "pods.all.labels={team: speech}"]  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return open_context(compose([f"storage.uri={tmp_path}/store", f"run.folder={tmp_path}/runs", "run.name=one"]))


@pytest.fixture
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KFP_RUN, "r")
    monkeypatch.setenv("KFP_POD_NAME", "pretrain-x7k2p-1")
    monkeypatch.setenv("KFP_POD_UID", "5d0c")


def told(step: str, config: RunConfig, log: EventLog) -> PodUsed:
    with accounted(step, config, log):
        pass
    (used,) = log.of_kind(PodUsed)
    (begun,) = log.of_kind(PodRuns)
    assert begun.key == used.key
    return used


@pytest.mark.usefixtures("in_a_pod")
def test_a_steps_pod_tells_its_name_and_its_requests(log: EventLog):
    used = told("train", compose(PODS), log)
    assert (used.step, used.pod, used.uid, used.node) == ("train", "pretrain-x7k2p-1", "5d0c", None)
    assert (used.cpu, used.memory_bytes, used.accelerators) == (3.0, 6 << 30, {"nvidia.com/gpu": 2.0})
    assert used.team == "speech"


@pytest.mark.usefixtures("in_a_pod")
@pytest.mark.parametrize(
    ("settings", "held"),
    [
        (["pods.all.cpu_request=null", "pods.all.memory_request=null"], (2.0, 4 << 30)),
        (["pods.all.cpu_request=null", "pods.all.cpu_limit=null", "pods.all.memory_request=null",
          "pods.all.memory_limit=null"], (None, None)),
    ],
    ids=["a limit alone is the request", "nothing"],
)  # fmt: skip
def test_a_pod_without_a_request(log: EventLog, settings: list[str], held: tuple[Any, Any]):
    used = told("ingest", compose(settings), log)
    assert (used.cpu, used.memory_bytes) == held


@pytest.mark.parametrize(
    ("step", "settings", "usable", "cpus"),
    [
        ("ingest", [], 4, 4.0),
        ("train", ["training.parallel.processes=1"], 4, 4.0),
        ("train", ["training.parallel.processes=4"], 6, 4.0),
        ("train", ["training.parallel.processes=4"], 2, 2.0),
        ("train", ["training.pool=gpu", "training.parallel.processes=4", "storage.uri=s3://b/s"], 6, 6.0),
    ],
    ids=["a step", "one rank with all", "ranks with one each", "ranks that share", "a launcher"],
)
def test_a_step_on_one_machine_holds_its_processors(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, step: str, settings: list[str], usable: int, cpus: float
):
    monkeypatch.delenv(KFP_RUN, raising=False)
    monkeypatch.setattr(module, "usable_cpus", lambda: usable)
    used = told(step, compose([*settings, "training.batch.micro_batch_size=1"]), log)
    assert (used.pod, used.cpu, used.memory_bytes, used.accelerators) == (None, cpus, None, {})


def test_a_clock_that_is_set_back_meanwhile_does_not_change_the_duration(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
):
    now = iter([1000.0, 10.0])
    monkeypatch.setattr(time, "time", lambda: next(now, 20.0))
    used = told("ingest", compose(), log)
    assert 1000.0 <= used.started <= used.ended < 1100.0


def fails(context: Context, given: Given) -> Manifest:
    raise RuntimeError("boom")


def stops(context: Context, given: Given) -> Manifest:
    raise Preempted("stopped by SIGTERM")


@pytest.mark.parametrize(
    ("body", "error", "last"),
    [(lambda context, given: MANIFEST, None, StepFinished), (fails, RuntimeError, StepFailed),
     (stops, Preempted, StepFailed)],
    ids=["done", "failed", "stopped"],
)  # fmt: skip
def test_a_step_is_counted_however_it_ends(
    context: Context, monkeypatch: pytest.MonkeyPatch, body: Callable[..., Manifest], error: Any, last: type
):
    monkeypatch.setitem(STEPS, "ingest", Step("ingest", (), body))
    if error is None:
        run_step("ingest", context, {})
    else:
        with pytest.raises(error):
            run_step("ingest", context, {})
    assert [type(event) for event in context.log.read()] == [StepStarted, PodRuns, PodUsed, last]
    (use,) = uses_of(context.log.read())
    assert (use.step, use.doubts) == ("ingest", ())
    assert use.cpu_seconds == pytest.approx(use.seconds * usable_cpus())


def test_the_step_of_the_report_is_counted_once_its_page_is_written(context: Context, tmp_path: Path):
    context.log.emit(StepStarted(step="ingest"))
    report_component(to_yaml(context.config), str(tmp_path / "page.html"))
    (used,) = context.log.of_kind(PodUsed)
    assert used.step == "report"
    assert not context.log.of_kind(PodRuns)
