"""A TrainJob from its creation to its end, on a cluster in memory."""

from __future__ import annotations

import os
import signal

import pytest

from llm.cluster.trainjobs.trainjob import manifest
from llm.errors import GristmillError, Preempted, ServiceError, UserError
from llm.process.signals import STOP_SIGNALS
from llm.runs.event_kinds import Event, Progress, TrainJobBegun, TrainStarted, Warned
from llm.runs.events import EventLog
from tests.fakes.cluster import FakeCluster, Training
from tests.unit.cluster.conftest import IMAGE, NAME, SPEC, Run, steps, told


def works(training: Training, count: int = 5) -> None:
    """A training that comes to its end."""
    training.after(2, training.run_pods)
    for number in range(count):
        training.after(3 + number, training.train_step, number)
    training.after(4 + count, training.succeed)


def test_a_training_is_created_shown_and_returned_from_when_it_is_complete(
    cluster: FakeCluster, run: Run, log: EventLog, capsys: pytest.CaptureFixture[str]
):
    labels = {}

    def script(training: Training) -> None:
        labels.update(training.job["metadata"]["labels"])
        works(training)
        training.after(2.5, training.say, "loading the plan")

    cluster.script = script
    run()
    assert steps(log) == list(range(5))
    assert capsys.readouterr().err == "loading the plan\n"
    assert labels["gristmill.io/run"] == "demo"
    assert len(cluster.made("DELETE")) == 1, "outside of a pod nothing owns it"
    (created,) = log.of_kind(TrainJobBegun)
    assert (created.name, created.namespace, created.how) == (NAME, "ml", "created")
    assert told(log, Progress) == ["0 of 2 pods run", "2 of 2 pods run"]
    assert not log.of_kind(Warned)
    assert len(log.of_kind(TrainStarted)) == 1


def test_one_that_asks_for_the_same_is_adopted_and_its_events_come_once(cluster: FakeCluster, run: Run, log: EventLog):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    training.run_pods()
    for number in range(3):
        log.emit(Event.read(training.train_step(number)))  # by the launcher before us
    training.train_step(3)
    training.after(2, training.succeed)
    run()
    assert steps(log) == [0, 1, 2, 3]
    assert [event.how for event in log.of_kind(TrainJobBegun)] == ["adopted"]
    assert not log.of_kind(TrainStarted), "it was not created now"


@pytest.mark.parametrize("replace_complete", [False, True])
def test_a_complete_one_is_returned_from_unless_a_new_one_is_wanted(
    cluster: FakeCluster, run: Run, log: EventLog, replace_complete: bool
):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    training.run_pods()
    training.train_step(7)
    training.succeed()
    cluster.script = works
    run(replace_complete=replace_complete)
    assert [event.how for event in log.of_kind(TrainJobBegun)] == ["created" if replace_complete else "adopted"]
    assert 7 in steps(log) or replace_complete


def test_an_obstacle_ends_it_and_nothing_is_left(cluster: FakeCluster, run: Run, log: EventLog):
    cluster.script = lambda training: cluster.warning(NAME, "JobCreationFailed", "etcd is slow")
    with pytest.raises(UserError) as raised:
        run()
    assert str(raised.value) == (
        f"the cluster refuses the pods of TrainJob {NAME}\n  etcd is slow\n  The pool's definition must change.\n"
        f"  TrainJob {NAME} was deleted after 600 s (cluster.unschedulable_after_seconds)"
    )
    assert told(log, Warned) == [f"the cluster refuses the pods of TrainJob {NAME} (etcd is slow)"]
    assert not cluster.trainjobs()


def test_an_obstacle_whose_trainjob_cannot_be_deleted_says_so(cluster: FakeCluster, run: Run):
    cluster.refuse("DELETE", NAME, 403, "trainjobs is forbidden")
    with pytest.raises(UserError, match=rf"no controller says why(.|\n)*TrainJob {NAME} could not be deleted: .*403"):
        run()


def test_one_that_is_deleted_by_others_ends_as_stopped(cluster: FakeCluster, run: Run, log: EventLog):
    cluster.grace_seconds = 3

    def script(training: Training) -> None:
        training.run_pods()
        training.train_step(0)
        training.after(2, cluster.delete, f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs/{NAME}")
        training.after(3, training.end, 0, 75, "stopped on request at step 1")

    cluster.script = script
    with pytest.raises(Preempted, match=r"(?s)was deleted while.*gristmill cancel.*stopped on request at step 1"):
        run()
    assert "the TrainJob is being deleted" in told(log, Progress)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_deletes_the_trainjob_before_anything_else(cluster: FakeCluster, run: Run, number: signal.Signals):
    asked: list[int] = []

    def script(training: Training) -> None:
        training.run_pods()
        training.after(3, lambda: (asked.append(len(cluster.requests)), os.kill(os.getpid(), number)))

    cluster.script = script
    outside = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(Preempted, match=rf"^stopped by {number.name}\n  TrainJob {NAME} is being deleted"):
            run()
        assert signal.getsignal(number) is signal.SIG_DFL, "it is as it was"
    finally:
        signal.signal(number, outside)
    assert cluster.requests[asked[0]][0] == "DELETE"
    assert not cluster.trainjobs()


def test_a_hangup_that_is_ignored_stays_ignored(cluster: FakeCluster, run: Run):
    def script(training: Training) -> None:
        works(training)
        training.after(3, os.kill, os.getpid(), signal.SIGHUP)

    cluster.script = script
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does it
    try:
        run()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_while_it_is_created_waits_until_it_exists_and_deletes_it(
    cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch
):
    create = cluster.create

    def slowly(body):
        cluster.clock.after(0.3, lambda: create(body))
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal came first")

    monkeypatch.setattr(cluster, "create", slowly)
    with pytest.raises(Preempted, match="is being deleted"):
        run()
    assert len(cluster.made("DELETE")) > 1, "it was not there at first"
    assert not cluster.trainjobs()


def test_a_signal_before_anything_is_made_finds_nothing_to_delete(
    cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch
):
    from llm.cluster.trainjobs import run_trainjob

    monkeypatch.setattr(run_trainjob, "read_pool", lambda api, name: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted, match=f"There was no TrainJob {NAME} to delete"):
        run()
    assert not cluster.made("POST")


def test_a_signal_while_the_server_is_down_says_that_the_training_goes_on(cluster: FakeCluster, run: Run):
    def stop() -> None:
        cluster.is_down = True
        os.kill(os.getpid(), signal.SIGTERM)

    cluster.script = lambda training: (training.run_pods(), training.after(2, stop))  # type: ignore[assignment]
    with pytest.raises(
        Preempted, match="could not be deleted and continues without this command: the Kubernetes API server"
    ):
        run()


def test_an_outage_of_the_server_is_waited_out(cluster: FakeCluster, run: Run, log: EventLog):
    def script(training: Training) -> None:
        works(training)
        training.after(4, setattr, cluster, "is_down", True)
        training.after(500, setattr, cluster, "is_down", False)

    cluster.script = script
    run()
    first, last = told(log, Warned)
    assert first == (
        "the Kubernetes API server at https://k does not answer: Connection refused; trying again for 10 min"
    )
    assert last == "https://k answers again"


def test_an_answer_of_503_is_asked_for_again_and_one_of_4xx_is_not(cluster: FakeCluster, run: Run):
    cluster.script = works
    cluster.refuse("POST", "trainjobs", 503, "the webhook is starting", times=3)
    run()
    assert len(cluster.made("POST")) == 4
    cluster.refuse("GET", f"trainjobs/{NAME}", 403, "no")
    with pytest.raises(ServiceError, match="403 Forbidden"):
        run()


def test_a_refusal_in_the_middle_says_that_the_training_goes_on(cluster: FakeCluster, run: Run):
    def script(training: Training) -> None:
        training.run_pods()
        training.after(2, cluster.refuse, "GET", f"trainjobs/{NAME}", 401, "Unauthorized")

    cluster.script = script
    with pytest.raises(
        ServiceError, match=r"(?s)401 Unauthorized.*continues without this command.*gristmill cancel demo"
    ):
        run()
    assert NAME in cluster.trainjobs()


def test_a_complete_training_is_complete_though_its_trainjob_cannot_be_deleted(
    cluster: FakeCluster, run: Run, log: EventLog
):
    cluster.refuse("DELETE", "trainjobs", 403, "trainjobs is forbidden")
    cluster.script = works
    run()
    (warning,) = told(log, Warned)
    assert f"TrainJob {NAME} is complete and could not be deleted" in warning


def test_the_servers_words_are_kept_when_it_denies_the_trainjob(cluster: FakeCluster, run: Run):
    words = 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.trainer.env: no'
    cluster.refuse("POST", "trainjobs", 403, words)
    with pytest.raises(ServiceError, match=rf"refused to create TrainJob ml/{NAME}: 403 Forbidden\n  {words}"):
        run()


@pytest.mark.parametrize("hidden", [{"pods"}, {"events"}, {"log"}, {"pods", "events", "log"}])
def test_without_rights_for_pods_events_or_logs_it_says_less_and_comes_to_its_end(
    cluster: FakeCluster, run: Run, log: EventLog, hidden: set[str]
):
    cluster.forbidden, cluster.script = hidden, works
    run()
    assert (steps(log) == list(range(5))) == hidden.isdisjoint({"pods", "log"})
    warned = told(log, Warned)
    assert any("pods of the training may not be seen" in words for words in warned) == ("pods" in hidden)
    assert any("log of the training may not be read" in words for words in warned) == (hidden == {"log"})
    assert len(warned) == len(set(warned)) <= 1, "each is said once"
    assert not cluster.trainjobs(), "it is deleted, as it is complete"


def test_a_training_whose_pods_may_not_be_seen_is_not_given_up_for_a_lack_of_pods(
    cluster: FakeCluster, run: Run, log: EventLog
):
    cluster.forbidden = {"pods"}
    cluster.script = lambda training: (training.after(1, training.run_pods), training.after(2000, training.succeed))
    run()
    assert told(log, Progress)[0] == "it runs; its pods may not be seen"


def test_the_end_of_a_training_whose_pods_may_not_be_seen_is_told_by_its_trainjob(cluster: FakeCluster, run: Run):
    cluster.forbidden = {"pods", "events"}
    cluster.script = lambda training: training.after(5, training.condition, "Failed")
    with pytest.raises(GristmillError, match=r"failed, and its pods may not be seen"):
        run()


def test_a_launcher_that_sees_no_events_still_gives_up_on_pods_that_never_come(
    cluster: FakeCluster, run: Run, log: EventLog
):
    cluster.forbidden = {"events"}
    with pytest.raises(UserError, match="has not got all its pods"):
        run()
    assert any("warnings about the training may not be seen" in words for words in told(log, Warned))
