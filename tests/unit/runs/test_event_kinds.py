"""What each kind of event writes, and what a line that an earlier version wrote reads as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from llm.runs.event_kinds import (
    EVENT_KINDS,
    Admitted,
    BudgetSpent,
    CheckpointSaved,
    Event,
    Evicted,
    Judged,
    MetricMeasured,
    PodRuns,
    PodUsed,
    Progress,
    Queued,
    RankSlow,
    RolledBack,
    RunFinished,
    RunStarted,
    StartsFrom,
    StepExplained,
    StepFailed,
    StepFinished,
    StepStarted,
    StopRequested,
    TrainingChanged,
    TrainingDiscarded,
    TrainingDiverged,
    TrainingHangs,
    TrainJobBegun,
    TrainPlan,
    TrainResumed,
    TrainStarted,
    TrainStep,
    TrainValidation,
    UnknownEvent,
    UpdateSkipped,
    Versions,
    Warned,
)
from llm.runs.events import EventLog, event_line, parse_event, read_events

GOLDEN = Path(__file__).parents[2] / "golden" / "events.jsonl"
"""Written by the version before events had types: every kind, a number that is none, and a kind of a later version."""

# kind: what a writer emits, and the fields of its line
TABLE: dict[str, tuple[Event, str]] = {
    "run_started": (
        RunStarted(
            time=1.5, pipeline="pretrain", command="gristmill run pretrain", versions={"torch": None},
            machine={"cpus": 2}, config_sha256="3f9a", runner="docker", images={"data": "sha256:0a"},
        ),
        '"pipeline": "pretrain", "command": "gristmill run pretrain", "versions": {"torch": null}, "machine": {"cpus":'
        ' 2}, "config_sha256": "3f9a", "runner": "docker", "images": {"data": "sha256:0a"}',
    ),
    "versions": (Versions(time=1.5, versions={"torch": "2.13, 2.14"}), '"versions": {"torch": "2.13, 2.14"}'),
    "stop_requested": (StopRequested(time=1.5), ""),
    "run_finished": (
        RunFinished(time=1.5, exit_code=0, seconds=312.75, peak_memory_bytes=1 << 30),
        '"exit_code": 0, "seconds": 312.75, "peak_memory_bytes": 1073741824',
    ),
    "step_started": (StepStarted(time=1.5, step="ingest", pid=4711), '"step": "ingest", "pid": 4711'),
    "step_explained": (
        StepExplained(time=1.5, step="gate", sought="evaluation", reused=False, why=["library polars 1 -> 2"]),
        '"step": "gate", "sought": "evaluation", "reused": false, "why": ["library polars 1 -> 2"]',
    ),
    "step_finished": (
        StepFinished(time=1.5, step="ingest", seconds=9.1, reused=False, manifest="3f9a", product="/store/corpus/3f9a",
                     name="corpus/one@1"),
        '"step": "ingest", "seconds": 9.1, "reused": false, "manifest": "3f9a", "product": "/store/corpus/3f9a",'
        ' "name": "corpus/one@1"',
    ),
    "step_failed": (
        StepFailed(time=1.5, step="train", exit_code=2, message="no\n  why", seconds=3.0),
        '"step": "train", "exit_code": 2, "message": "no\\n  why", "seconds": 3.0',
    ),
    "progress": (
        Progress(time=1.5, step="ingest", message="1 of 2 files", done=1, total=2),
        '"step": "ingest", "message": "1 of 2 files", "done": 1, "total": 2',
    ),
    "judged": (
        Judged(time=1.5, verdict="PASS", words=["PASS against the floors", "overall: holds"]),
        '"verdict": "PASS", "words": ["PASS against the floors", "overall: holds"]',
    ),
    "warning": (Warned(time=1.5, message="é is left out"), '"message": "\\u00e9 is left out"'),
    "metric": (MetricMeasured(time=1.5, name="gate/passed", value=1), '"name": "gate/passed", "value": 1'),
    "train_plan": (
        TrainPlan(
            time=1.5, steps=40, start=8, tokens_per_step=128, parameters=17568, world_size=2, backend="torch",
            peak_flops=1.25e11, flops_per_token=116736,
        ),
        '"steps": 40, "start": 8, "tokens_per_step": 128, "parameters": 17568, "world_size": 2, "backend": "torch",'
        ' "peak_flops": 125000000000.0, "flops_per_token": 116736',
    ),
    "train_step": (
        TrainStep(
            time=1.5, step=9, steps=40, tokens=1152, loss=5.25, lr=0.001, grad_norm=0.5, tokens_per_second=2348.4,
            mfu=0.0023, memory_bytes=822296576, seconds_left=0.0, device_seconds=7.5, cost=0.25, data_seconds=0.01,
            checkpoint_seconds=None, rates=[0.001, 0.0005], loss_scale=65536.0,
        ),
        '"step": 9, "steps": 40, "tokens": 1152, "loss": 5.25, "lr": 0.001, "grad_norm": 0.5, "tokens_per_second":'
        ' 2348.4, "mfu": 0.0023, "memory_bytes": 822296576, "seconds_left": 0.0, "device_seconds": 7.5, "cost": 0.25,'
        ' "data_seconds": 0.01, "checkpoint_seconds": null, "rates": [0.001, 0.0005], "loss_scale": 65536.0',
    ),
    "train_validation": (
        TrainValidation(time=1.5, step=10, loss=2.67, bits_per_byte=1.25),
        '"step": 10, "loss": 2.67, "bits_per_byte": 1.25',
    ),
    "train_resumed": (
        TrainResumed(time=1.5, step=8, checkpoint="step-00000008"), '"step": 8, "checkpoint": "step-00000008"',
    ),
    "checkpoint_saved": (CheckpointSaved(time=1.5, step=7, seconds=0.036), '"step": 7, "seconds": 0.036'),
    "starts_from": (
        StartsFrom(time=1.5, checkpoint="3f9a", kept=600, of_parts=4, of_all=0),
        '"checkpoint": "3f9a", "kept": 600, "of_parts": 4, "of_all": 0',
    ),
    "training_discarded": (TrainingDiscarded(time=1.5, recipe="9c1e07aa"), '"recipe": "9c1e07aa"'),
    "training_changed": (
        TrainingChanged(time=1.5, step=8, changes=["library torch 2.12.0 -> 2.13.0"]),
        '"step": 8, "changes": ["library torch 2.12.0 -> 2.13.0"]',
    ),
    "update_skipped": (
        UpdateSkipped(
            time=1.5, step=9, loss=7.5, loss_limit=5.25, grad_norm=0.5, grad_norm_limit=2.0, in_a_row=1
        ),
        '"step": 9, "loss": 7.5, "loss_limit": 5.25, "grad_norm": 0.5, "grad_norm_limit": 2.0, "in_a_row": 1',
    ),
    "budget_spent": (
        BudgetSpent(time=1.5, step=9, device_seconds=7200.0, cost=4.5, caps=["training.budget.device_hours=2"]),
        '"step": 9, "device_seconds": 7200.0, "cost": 4.5, "caps": ["training.budget.device_hours=2"]',
    ),
    "training_diverged": (
        TrainingDiverged(
            time=1.5, step=9, what="loss", value=float("inf"), ranks=[1], windows=[4, 7], documents=[2],
            domains=["stories"],
        ),
        '"step": 9, "what": "loss", "value": Infinity, "ranks": [1], "windows": [4, 7], "documents": [2], "domains":'
        ' ["stories"]',
    ),
    "rolled_back": (
        RolledBack(time=1.5, step=130, to=100, batch=130, number=1),
        '"step": 130, "to": 100, "batch": 130, "number": 1',
    ),
    "rank_slow": (
        RankSlow(time=1.5, step=60, rank=3, host="node-a", seconds=0.75, usual_seconds=0.25),
        '"step": 60, "rank": 3, "host": "node-a", "seconds": 0.75, "usual_seconds": 0.25',
    ),
    "training_hangs": (
        TrainingHangs(time=1.5, step=9, seconds=301.0, silent=["rank 1 is stopped (SIGSTOP)"], log="/w/workers.log"),
        '"step": 9, "seconds": 301.0, "silent": ["rank 1 is stopped (SIGSTOP)"], "log": "/w/workers.log"',
    ),
    "trainjob": (
        TrainJobBegun(time=1.5, name="demo-train", namespace="ml", uid="5d0c", how="adopted"),
        '"name": "demo-train", "namespace": "ml", "uid": "5d0c", "how": "adopted"',
    ),
    "train_started": (TrainStarted(time=1.5, seconds=31.5), '"seconds": 31.5'),
    "pod_runs": (
        PodRuns(time=1.5, step="train", pod="p", uid="5d0c", node=1, attempt=2, started=1.0, cpu=0.5, memory_bytes=9,
                accelerators={"nvidia.com/gpu": 4.0}, team="speech"),
        '"step": "train", "pod": "p", "uid": "5d0c", "node": 1, "attempt": 2, "started": 1.0, "cpu": 0.5,'
        ' "memory_bytes": 9, "accelerators": {"nvidia.com/gpu": 4.0}, "team": "speech"',
    ),
    "pod_used": (
        PodUsed(time=1.5, step="ingest", started=1.0, cpu=2.0, team=None, ended=1.25),
        '"step": "ingest", "started": 1.0, "cpu": 2.0, "team": null, "ended": 1.25',
    ),
    "queued": (
        Queued(time=1.5, queue="team-a", why="insufficient unused quota", place=2, again=True),
        '"queue": "team-a", "why": "insufficient unused quota", "place": 2, "again": true',
    ),
    "admitted": (
        Admitted(time=1.5, queue="team-a", cluster_queue="team-a", seconds=12.0),
        '"queue": "team-a", "cluster_queue": "team-a", "seconds": 12.0',
    ),
    "evicted": (
        Evicted(time=1.5, queue="team-a", reason="Preempted", message="for another", by="Job urgent"),
        '"queue": "team-a", "reason": "Preempted", "message": "for another", "by": "Job urgent"',
    ),
}  # fmt: skip
# a line with the fields alone that have no default: what the first version that wrote this kind is sure to have written
FIRST_VERSION: dict[str, tuple[str, Event]] = {
    "run_started": ("", RunStarted(time=1.5)),
    "versions": ('"versions": {}', Versions(time=1.5, versions={})),
    "stop_requested": ("", StopRequested(time=1.5)),
    "run_finished": ('"exit_code": 75, "seconds": 2', RunFinished(time=1.5, exit_code=75, seconds=2)),
    "step_started": ('"step": "gate"', StepStarted(time=1.5, step="gate")),
    "step_explained": (
        '"step": "gate", "sought": "gate", "reused": true',
        StepExplained(time=1.5, step="gate", sought="gate", reused=True),
    ),
    "step_finished": ('"step": "gate"', StepFinished(time=1.5, step="gate")),
    "step_failed": ('"step": "gate"', StepFailed(time=1.5, step="gate")),
    "progress": ('"step": "gate", "message": "x"', Progress(time=1.5, step="gate", message="x")),
    "judged": ('"verdict": "FAIL", "words": []', Judged(time=1.5, verdict="FAIL", words=[])),
    "warning": ('"message": "x"', Warned(time=1.5, message="x")),
    "metric": ('"name": "a/b", "value": 2.5', MetricMeasured(time=1.5, name="a/b", value=2.5)),
    "train_plan": (
        '"steps": 4, "tokens_per_step": 8, "parameters": 9, "world_size": 1, "backend": "torch"',
        TrainPlan(time=1.5, steps=4, tokens_per_step=8, parameters=9, world_size=1, backend="torch"),
    ),
    "train_step": ('"step": 1, "steps": 4, "loss": NaN', TrainStep(time=1.5, step=1, steps=4, loss=float("nan"))),
    "train_validation": ('"step": 1, "loss": Infinity', TrainValidation(time=1.5, step=1, loss=float("inf"))),
    "train_resumed": ('"step": 1', TrainResumed(time=1.5, step=1)),
    "checkpoint_saved": ('"step": 1', CheckpointSaved(time=1.5, step=1)),
    "starts_from": (
        '"checkpoint": "3f9a", "kept": 1, "of_parts": 0, "of_all": 0',
        StartsFrom(time=1.5, checkpoint="3f9a", kept=1, of_parts=0, of_all=0),
    ),
    "training_discarded": ('"recipe": "9c"', TrainingDiscarded(time=1.5, recipe="9c")),
    "training_changed": ('"step": 1, "changes": []', TrainingChanged(time=1.5, step=1, changes=[])),
    "update_skipped": (
        '"step": 1, "loss": 2.5, "loss_limit": 2.0, "grad_norm": 1.0, "grad_norm_limit": 2.0, "in_a_row": 1',
        UpdateSkipped(time=1.5, step=1, loss=2.5, loss_limit=2.0, grad_norm=1.0, grad_norm_limit=2.0, in_a_row=1),
    ),
    "training_diverged": (
        '"step": 1, "what": "loss", "value": NaN, "ranks": [], "windows": [], "documents": [], "domains": []',
        TrainingDiverged(
            time=1.5, step=1, what="loss", value=float("nan"), ranks=[], windows=[], documents=[], domains=[]
        ),
    ),
    "rolled_back": (
        '"step": 2, "to": 1, "batch": 2, "number": 1',
        RolledBack(time=1.5, step=2, to=1, batch=2, number=1),
    ),
    "rank_slow": (
        '"step": 1, "rank": 0, "host": "", "seconds": 1.0, "usual_seconds": 0.5',
        RankSlow(time=1.5, step=1, rank=0, host="", seconds=1.0, usual_seconds=0.5),
    ),
    "training_hangs": (
        '"step": 1, "seconds": 2.0, "silent": [], "log": "x"',
        TrainingHangs(time=1.5, step=1, seconds=2.0, silent=[], log="x"),
    ),
    "budget_spent": (
        '"step": 1, "device_seconds": 2.0, "caps": []',
        BudgetSpent(time=1.5, step=1, device_seconds=2.0, caps=[]),
    ),
    "trainjob": (
        '"name": "x", "namespace": "ml", "how": "created"',
        TrainJobBegun(time=1.5, name="x", namespace="ml", how="created"),
    ),
    "train_started": ('"seconds": 1.0', TrainStarted(time=1.5, seconds=1.0)),
    "pod_runs": ('"step": "gate", "started": 1.0', PodRuns(time=1.5, step="gate", started=1.0)),
    "pod_used": (
        '"step": "gate", "started": 1.0, "ended": 2.0',
        PodUsed(time=1.5, step="gate", started=1.0, ended=2.0),
    ),
    "queued": ('"queue": "a"', Queued(time=1.5, queue="a")),
    "admitted": ('"queue": "a"', Admitted(time=1.5, queue="a")),
    "evicted": ('"queue": "a", "reason": "Preempted"', Evicted(time=1.5, queue="a", reason="Preempted")),
}


def line(kind: str, fields: str) -> str:
    return f'{{"time": 1.5, "kind": "{kind}"{", " if fields else ""}{fields}}}'


def test_the_tables_have_every_kind():
    assert set(TABLE) == set(FIRST_VERSION) == set(EVENT_KINDS)


@pytest.mark.parametrize("kind", TABLE)
def test_a_kind_is_written_as_time_kind_and_fields(kind: str):
    event, fields = TABLE[kind]
    assert event_line(event) == line(kind, fields)


@pytest.mark.parametrize("kind", TABLE)
def test_a_line_reads_as_the_event_that_was_written(kind: str):
    event, fields = TABLE[kind]
    read = parse_event(line(kind, fields))
    assert type(read) is type(event)
    assert read == event


@pytest.mark.parametrize("kind", FIRST_VERSION)
def test_a_line_of_an_earlier_version_reads_without_the_fields_that_came_later(kind: str):
    fields, event = FIRST_VERSION[kind]
    read = parse_event(line(kind, fields))
    assert type(read) is type(event)
    assert repr(read) == repr(event)  # not ==: a loss that is not a number differs from itself


def test_a_log_of_the_untyped_version_reads_with_its_kinds_and_writes_back_the_same(tmp_path: Path):
    copy = EventLog(tmp_path / "copy.jsonl")
    for event, _ in read_events(GOLDEN):
        copy.emit(event)
    assert copy.path.read_bytes() == GOLDEN.read_bytes()
    events = copy.read()
    came_later = {StepExplained, Judged, PodRuns, PodUsed, Queued, Admitted, Evicted, StartsFrom}
    came_later |= {UpdateSkipped, TrainingDiverged, TrainingHangs, BudgetSpent, RankSlow, RolledBack}
    assert {type(event) for event in events} == {*EVENT_KINDS.values(), UnknownEvent} - came_later
    assert [type(event) for event in events][-1] is UnknownEvent


def test_a_kind_of_a_later_version_is_kept_with_its_fields():
    text = '{"time": 1.5, "kind": "rollout", "reward": [1, null], "by": {"a": 2.5}}'
    event = parse_event(text)
    assert isinstance(event, UnknownEvent)
    assert event.kind == "rollout"
    assert event.model_extra == {"reward": [1, None], "by": {"a": 2.5}}
    assert event_line(event) == text


def test_a_field_of_a_later_version_is_kept_in_its_event():
    text = '{"time": 1.5, "kind": "step_started", "step": "train", "pid": 12, "node": "a"}'
    event = parse_event(text)
    assert isinstance(event, StepStarted)
    assert event_line(event) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"time": 1.5, "kind": "train_step", "step": 1}',
        '{"time": 1.5, "kind": "train_step", "step": "one", "steps": 4, "loss": 1.0}',
        '{"time": 1.5, "kind": "warning", "message": ["x"]}',
    ],
)
def test_a_known_kind_that_does_not_fit_is_kept_and_taken_for_nothing_that_it_is_not(text: str):
    event = parse_event(text)
    assert type(event) is UnknownEvent
    assert event_line(event) == text


@pytest.mark.parametrize(
    "text",
    ["", "text", "7", "[]", "{}", '{"time": 1.5}', '{"kind": "warning", "message": "x"}', '{"time": 1.5, "kind": 3}',
     '{"time": "now", "kind": "warning", "message": "x"}', '{"time": 1.5, "kind": "warn', "\0\0\0"],
)  # fmt: skip
def test_a_line_that_is_no_event_is_none(text: str):
    assert parse_event(text) is None


def test_a_torn_line_is_skipped_and_the_next_writer_keeps_its_line_apart(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(Warned(message="first"))
    with log.path.open("a") as file:
        file.write('{"time": 1.5, "kind": "warn')
    assert [event.message for event in log.of_kind(Warned)] == ["first"]
    log.emit(Warned(message="second"))
    assert [event.message for event in log.of_kind(Warned)] == ["first", "second"]


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit(StepStarted(step="one"))
    ((_, end),) = read_events(log.path)
    log.emit(StepStarted(step="two"))
    assert [event.step for event, _ in read_events(log.path, end) if isinstance(event, StepStarted)] == ["two"]


def test_a_misspelt_field_is_refused():
    with pytest.raises(ValidationError, match=r"los\s+Extra inputs are not permitted"):
        TrainStep(step=1, steps=2, loss=1.0, los=1.0)


def test_a_value_of_another_type_is_refused_and_not_converted():
    with pytest.raises(ValidationError, match=r"step\s+Input should be a valid integer"):
        TrainResumed(step="8")


def test_an_event_does_not_change():
    with pytest.raises(ValidationError, match="Instance is frozen"):
        Warned(message="x").message = "y"


def test_two_kinds_of_one_name_are_refused():
    with pytest.raises(TypeError, match=r"two kinds of event are called warning: Warned and .*Other"):

        class Other(Event):
            kind: Literal["warning"] = "warning"

    assert EVENT_KINDS["warning"] is Warned


def test_a_kind_may_be_added_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llm.runs.event_kinds.event.EVENT_KINDS", {**EVENT_KINDS})

    class Rollout(Event):
        kind: Literal["rollout"] = "rollout"
        reward: float

    log = EventLog(tmp_path / "events.jsonl")
    log.emit(Rollout(time=1.5, reward=0.5))
    assert json.loads(log.path.read_text()) == {"time": 1.5, "kind": "rollout", "reward": 0.5}
    assert log.of_kind(Rollout) == [Rollout(time=1.5, reward=0.5)]
