"""The ledger of trainings on a cluster in memory: restarts, preemption, launchers that die."""

from __future__ import annotations

import pytest

from llm.cluster.trainjobs import run_trainjob
from llm.cluster.trainjobs.follower.usage import Account, count_pods
from llm.cluster.trainjobs.trainjob import TrainJobSpec, manifest, trainjob_name
from llm.cluster.trainjobs.trainjob_requests import training_pods
from llm.config import RunConfig
from llm.errors import Preempted
from llm.runs.event_kinds import PodRuns, PodUsed, StepFailed, StepStarted
from llm.runs.events import EventLog
from llm.runs.ledger import uses_of
from tests.fakes.cluster import FakeCluster, Training
from tests.unit.cluster.conftest import IMAGE, NAME, SPEC, Run

REQUESTS = {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}


def seconds(log: EventLog) -> list[tuple[int | None, int, float]]:
    """Node, attempt and duration of each use that was told."""
    return [(one.node, one.attempt, one.ended - one.started) for one in log.of_kind(PodUsed)]


def asks(training: Training) -> None:
    training.requests, training.labels = REQUESTS, {"team": "speech"}


def restart(training: Training) -> None:
    """As JobSet does it: the pods are deleted, and others begin."""
    training.delete_pods()
    training.attempt += 1
    training.run_pods()


def test_each_node_is_told_with_its_time_and_what_it_asks_for(cluster: FakeCluster, run: Run, log: EventLog):
    def script(training: Training) -> None:
        asks(training)
        training.after(2, training.run_pods)
        training.after(12, training.succeed)

    cluster.script = script
    run()
    assert seconds(log) == [(0, 0, 10.0), (1, 0, 10.0)]
    assert len(log.of_kind(PodRuns)) == 2
    assert {(one.cpu, one.memory_bytes, one.team) for one in log.of_kind(PodUsed)} == {(2.0, 1 << 30, "speech")}
    uses = uses_of(log.read())
    assert sum(use.cpu_seconds or 0 for use in uses) == 40.0
    assert sum(use.accelerator_seconds["nvidia.com/gpu"] for use in uses) == 20.0


@pytest.mark.parametrize("ends_seen", [True, False], ids=["ends are seen", "pods are deleted"])
def test_a_restart_with_new_pods_counts_both_attempts(cluster: FakeCluster, run: Run, log: EventLog, ends_seen: bool):
    def script(training: Training) -> None:
        asks(training)
        training.after(2, training.run_pods)
        if ends_seen:
            training.after(12, training.end, 0, 75)
            training.after(12, training.end, 1, 137, reason="OOMKilled")
        training.after(12 if not ends_seen else 15, restart, training)
        training.after(35, training.succeed)

    cluster.script = script
    run()
    again = 23.0 if not ends_seen else 20.0
    assert seconds(log) == [(0, 0, 10.0), (1, 0, 10.0), (0, 1, again), (1, 1, again)]


def test_a_container_that_is_restarted_in_place_counts_twice(cluster: FakeCluster, run: Run, log: EventLog):
    def script(training: Training) -> None:
        asks(training)
        training.after(2, training.run_pods)
        training.after(12, training.restart_in_place, 1, 1, down_seconds=3)
        training.after(20, training.succeed)

    cluster.script = script
    run()
    assert sorted(seconds(log)) == [(0, 0, 18.0), (1, 0, 7.0), (1, 0, 8.0)]


def test_a_preempted_training_that_goes_on_counts_both_times_and_not_the_time_between(
    cluster: FakeCluster, run: Run, log: EventLog
):
    def script(training: Training) -> None:
        asks(training)
        training.after(2, training.run_pods)
        training.after(12, training.delete_pods)

        def again() -> None:
            training.attempt += 1
            training.run_pods()

        training.after(100, again)
        training.after(105, training.succeed)

    cluster.script = script
    run()
    assert seconds(log) == [(0, 0, 10.0), (1, 0, 10.0), (0, 1, 5.0), (1, 1, 5.0)]


def told_before(log: EventLog, training: Training) -> None:
    """The log as a launcher leaves it that is killed a moment after the pods have begun."""
    for index in range(2):
        uid = training.cluster.pods()[training.pod(index)]["metadata"]["uid"]
        started = training.cluster.clock.date().timestamp()
        log.emit(PodRuns(step="train", pod=training.pod(index), uid=uid, node=index, started=started, cpu=2.0))


def test_the_next_launcher_adopts_the_training_and_nothing_counts_twice(cluster: FakeCluster, run: Run, log: EventLog):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    asks(training)
    training.run_pods()
    log.emit(StepStarted(step="train"))
    told_before(log, training)
    cluster.clock.sleep(30)
    log.emit(StepStarted(step="train"))
    training.after(10, training.end, 0, 0)
    training.after(20, training.succeed)
    run()
    assert seconds(log) == [(0, 0, 40.0), (1, 0, 50.0)]
    uses = [use for use in uses_of(log.read()) if use.cpu_seconds is not None]
    assert [(use.seconds, use.doubts) for use in uses] == [(40.0, ()), (50.0, ())]


def test_the_next_launcher_tells_no_end_again(cluster: FakeCluster, run: Run, log: EventLog):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    asks(training)
    training.run_pods()
    training.after(10, training.end, 0, 0)
    training.after(20, training.end, 1, 0)
    api = cluster.api()
    account = Account()
    for _ in range(15):  # the launcher before us sees one end
        account, usages = count_pods(account, SPEC, training_pods(api, NAME), cluster.clock.date())
        for usage in usages:
            log.emit(usage)
        cluster.clock.sleep(1)
    assert seconds(log) == [(0, 0, 10.0)]
    training.after(10, training.condition, "Complete")
    run()
    assert seconds(log) == [(0, 0, 10.0), (1, 0, 20.0)]


def test_pods_of_a_failed_training_are_told_before_it_is_replaced(cluster: FakeCluster, run: Run, log: EventLog):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    asks(training)
    training.run_pods()
    told_before(log, training)
    cluster.clock.sleep(30)
    training.end(0, 1)
    training.end(1, 75)
    training.condition("Failed")
    cluster.clock.sleep(100)
    cluster.script = lambda new: (new.run_pods(), new.after(5, new.succeed))  # type: ignore[func-returns-value]
    run()
    assert seconds(log)[:2] == [(0, 0, 30.0), (1, 0, 30.0)]


def test_a_training_that_others_delete_counts_until_its_pods_are_gone(cluster: FakeCluster, run: Run, log: EventLog):
    cluster.grace_seconds = 5

    def script(training: Training) -> None:
        asks(training)
        training.run_pods()
        training.after(10, cluster.delete, f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs/{NAME}")

    cluster.script = script
    with pytest.raises(Preempted):
        run()
    assert seconds(log) == [(0, 0, 15.0), (1, 0, 15.0)]


def test_an_account_of_the_last_training_that_cannot_be_read_keeps_no_training_from_starting(
    cluster: FakeCluster, run: Run, log: EventLog
):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    training.condition("Failed")
    cluster.refuse("GET", r"/pods$", 403)
    cluster.script = lambda new: (new.run_pods(), new.after(5, new.succeed))  # type: ignore[func-returns-value]
    run()
    assert seconds(log) == [(0, 0, 5.0), (1, 0, 5.0)]
    assert not log.of_kind(StepFailed)


@pytest.mark.parametrize(("labels", "team"), [({}, None), ({"cost-centre": "speech", "team": "other"}, "speech")])
def test_the_team_of_pods_without_a_label_is_that_of_the_step_train(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, labels: dict[str, str], team: str | None
):
    asked: list[TrainJobSpec] = []
    monkeypatch.setattr(run_trainjob, "connect", lambda cluster: FakeCluster().api())
    monkeypatch.setattr(run_trainjob, "run_trainjob", lambda api, spec, *rest, **named: asked.append(spec))
    config = RunConfig.model_validate({
        "training": {"pool": "gpu"}, "costs": {"team_label": "cost-centre"},
        "pods": {"steps": {"train": {"labels": labels}}},
    })  # fmt: skip
    run_trainjob.train_job("demo", config, log)("s3://b/plan.json")
    assert [(spec.team_label, spec.team) for spec in asked] == [("cost-centre", team)]


def test_a_stage_has_a_trainjob_of_its_own_and_counts_for_the_step_train(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
):
    asked: list[TrainJobSpec] = []
    monkeypatch.setattr(run_trainjob, "connect", lambda cluster: FakeCluster().api())
    monkeypatch.setattr(run_trainjob, "run_trainjob", lambda api, spec, *rest, **named: asked.append(spec))
    config = RunConfig.model_validate({"training": {"pool": "gpu"}})
    for stage in (1, 2, None):
        run_trainjob.train_job("demo", config, log, stage)("s3://b/plan.json")
    assert len({trainjob_name(spec.run, spec.task) for spec in asked}) == 3
    assert [(spec.task, spec.step) for spec in asked] == [
        ("train-1", "train"),
        ("train-2", "train"),
        ("train", "train"),
    ]
