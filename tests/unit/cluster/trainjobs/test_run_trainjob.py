"""A TrainJob from its creation to its end, on a cluster in this process."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from llm.cluster.trainjobs import delete_on_signal as stop
from llm.cluster.trainjobs.trainjob import manifest
from llm.errors import GateNotPassed, GristmillError, Preempted, ServiceError, UserError, ValidationFailed
from llm.process.signals import STOP_SIGNALS
from llm.runs.event_kinds import Event, Progress, TrainJobBegun, TrainStarted, TrainStep, Warned
from llm.runs.events import EventLog
from tests.kubernetes_case import TRAINJOBS, FakeKubernetes, Script
from tests.unit.cluster.conftest import IMAGE, SPEC, Follow

NAME = "demo-train-d9eca747"


@pytest.fixture
def cut_off() -> Iterator[None]:
    """For a test whose signal may cut off a request: its socket is then left to the garbage collector."""
    yield
    gc.collect()


leaves_a_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def told(log: EventLog, kind: type[Progress] | type[Warned]) -> list[str]:
    return [event.message for event in log.of_kind(kind)]


def steps(log: EventLog) -> list[int]:
    return [event.step for event in log.of_kind(TrainStep)]


def works(script: Script, count: int = 5) -> None:
    """A training that comes to its end."""
    script.run_pods()
    for number in range(count):
        script.train_step(number)
        time.sleep(0.01)
    script.succeed()


def test_a_training_is_created_shown_and_returned_from_when_it_is_complete(
    cluster: FakeKubernetes, run: Follow, log: EventLog, capsys: pytest.CaptureFixture[str]
):
    labels = {}

    def script(script: Script) -> None:
        labels.update(cluster.trainjobs[NAME]["metadata"]["labels"])
        script.run_pods()
        script.say("loading the plan")
        works(script)

    cluster.script = script
    run()
    assert steps(log) == list(range(5))
    assert capsys.readouterr().err == "loading the plan\n"
    assert labels["gristmill.io/run"] == "demo"
    assert len(cluster.made("DELETE")) == 1, "outside of a pod nothing owns it"
    (created,) = log.of_kind(TrainJobBegun)
    assert (created.name, created.namespace, created.how) == (NAME, "ml", "created")
    assert not log.of_kind(Warned)


def test_events_are_kept_as_they_came(cluster: FakeKubernetes, run: Follow, log: EventLog):
    events = []

    def script(script: Script) -> None:
        script.run_pods()
        events.append(script.train_step(1))
        script.succeed()

    cluster.script = script
    run()
    assert [event.document() for event in log.of_kind(TrainStep)] == events


def test_the_time_to_the_first_step_is_told(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        time.sleep(0.3)
        works(script)

    cluster.script = script
    run()
    (first,) = log.of_kind(TrainStarted)
    assert 0.3 <= first.seconds < 5


def test_one_that_asks_for_the_same_is_adopted_and_its_events_come_once(
    cluster: FakeKubernetes, run: Follow, log: EventLog
):
    cluster.create(manifest(SPEC, "ml", IMAGE, None))
    script = cluster.scripts[0]
    script.run_pods()
    for number in range(3):
        log.emit(Event.read(script.train_step(number)))  # by the launcher before us
    script.train_step(3)
    threading.Timer(0.2, works, (script, 0)).start()
    run()
    assert steps(log) == [0, 1, 2, 3]
    assert [event.how for event in log.of_kind(TrainJobBegun)] == ["adopted"]
    assert not log.of_kind(TrainStarted), "it was not created now"
    assert len(cluster.scripts) == 1


@pytest.mark.parametrize("changes", [{"nodes": 1}, {"image": "other:1"}, {"command": ("true",)}])
def test_one_that_asks_for_something_else_is_refused(cluster: FakeKubernetes, run: Follow, changes: dict):
    (field,) = changes
    image = changes.pop("image", IMAGE)
    cluster.create(manifest(replace(SPEC, **changes), "ml", image, None))
    field = {"nodes": "numNodes"}.get(field, field)
    with pytest.raises(UserError, match=rf"(?s)two runs with one name: TrainJob ml/{NAME} of run demo .* differs in"
                       rf" trainer\.{field};.*run\.name=.*gristmill cancel demo"):  # fmt: skip
        run()
    assert not cluster.made("DELETE")


def test_a_complete_one_is_returned_from_with_its_events(cluster: FakeKubernetes, run: Follow, log: EventLog):
    cluster.create(manifest(SPEC, "ml", IMAGE, None))
    works(cluster.scripts[0])
    run()
    assert steps(log) == list(range(5))
    assert len(cluster.scripts) == 1


def test_a_complete_one_makes_room_when_a_new_one_is_wanted(cluster: FakeKubernetes, run: Follow, log: EventLog):
    cluster.create(manifest(SPEC, "ml", IMAGE, None))
    works(cluster.scripts[0])
    cluster.script = works
    run(anew=True)
    assert len(cluster.scripts) == 2


def test_a_failed_one_makes_room_for_a_new_one_whatever_it_asked_for(
    cluster: FakeKubernetes, run: Follow, log: EventLog
):
    cluster.create(manifest(replace(SPEC, nodes=1), "ml", "older:1", None))
    cluster.scripts[0].condition("Failed", "FailJobSetFailurePolicyAction")
    cluster.script = works
    cluster.grace_seconds = 0.1
    run()
    assert len(cluster.scripts) == 2
    assert any("has failed, and makes room" in message for message in told(log, Progress))


def test_one_that_is_being_deleted_is_waited_for(cluster: FakeKubernetes, run: Follow, log: EventLog):
    cluster.create(manifest(SPEC, "ml", IMAGE, None))
    cluster.grace_seconds = 0.2
    cluster.delete(NAME)
    cluster.script = works
    run()
    assert steps(log) == list(range(5))


def test_a_queued_one_is_waited_for_as_long_as_it_takes(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.condition("Suspended", "Suspended")
        script.job["spec"]["suspend"] = True
        time.sleep(0.8)  # longer than patience with anything else
        script.job["spec"]["suspend"] = False
        script.condition("Suspended", "Resumed", status="False")
        works(script)

    cluster.script = script
    run(patience=0.2)
    assert "queued: the TrainJob is suspended until its queue starts it" in told(log, Progress)
    assert not told(log, Warned)


def test_a_restart_is_told_with_its_cause_and_the_log_goes_on(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.run_pods()
        script.train_step(0)
        script.end(1, 137, reason="OOMKilled", at="2026-11-24T23:00:00Z")
        script.end(0, 75, "saved", at="2026-11-24T23:00:01Z")
        time.sleep(0.3)
        script.restart()
        time.sleep(0.1)
        script.run_pods()
        script.train_step(1)
        works(script, 0)

    cluster.script = script
    run()
    assert steps(log) == [0, 1]
    (warning,) = told(log, Warned)
    assert warning == (
        f"the training starts again (restart 1): pod {NAME}-node-0-1-0 was killed for lack of memory (OOMKilled;"
        " its limit is 1Gi)"
    )


def test_a_pod_that_is_lost_is_named_as_the_cause_of_a_restart(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.run_pods()
        time.sleep(0.2)
        cluster.pods.pop(script.pod(1))
        time.sleep(0.2)
        script.restart()
        works(script)

    cluster.script = script
    run()
    assert told(log, Warned) == [
        f"the training starts again (restart 1): pod {NAME}-node-0-1-0 is gone: deleted, or its node is lost"
    ]


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (3, ValidationFailed), (4, GateNotPassed), (75, Preempted)])
def test_a_failure_is_the_trainers_own_error(
    cluster: FakeKubernetes, run: Follow, code: int, kind: type[GristmillError]
):
    def script(script: Script) -> None:
        script.run_pods()
        script.end(1, 1, at="2026-11-24T23:00:00Z") if code != 75 else None
        script.end(0, code, "training.optimizer.lr=-1 is wrong\n  set more", at="2026-11-24T23:00:01Z")
        script.condition("Failed", "FailJobSetFailurePolicyAction", "applying FailJobSet failure policy action")

    cluster.script = script
    said = rf"^training\.optimizer\.lr=-1 is wrong\n  set more\n  pod {NAME}-node-0-0-0 ended with"
    with pytest.raises(kind, match=said):
        run()


def test_a_crash_is_shown_with_the_end_of_its_log(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.run_pods()
        for line in ("Traceback (most recent call last):", '{"time": 1, "kind": "train_step"}', "RuntimeError: boom"):
            script.say(line, index=1)
        script.end(1, 1, at="2026-11-24T23:00:00Z")
        script.end(0, 75, "saved", at="2026-11-24T23:00:05Z")
        script.condition("Failed", "ReachedMaxRestarts", "jobset failed due to reaching max number of restarts")

    cluster.script = script
    with pytest.raises(GristmillError) as raised:
        run()
    assert str(raised.value) == (
        f"the training failed: pod {NAME}-node-0-1-0 ended with exit code 1\n"
        "  Its log ended with:\n    Traceback (most recent call last):\n    RuntimeError: boom\n"
        "  The restarts of pool cpu are used up (its maxRestarts)."
    )
    assert raised.value.exit_code == 70


def test_a_deadline_is_named_although_the_pods_are_gone(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.run_pods()
        cluster.warning(f"{NAME}-node-0", "DeadlineExceeded", "Job was active longer than specified deadline")
        cluster.pods.clear()
        script.condition("Failed", "FailJobSetFailurePolicyAction", "applying FailJobSet failure policy action")

    cluster.script = script
    with pytest.raises(GristmillError, match=r"nothing is left of its pods\n  The deadline of pool cpu has passed"):
        run()


def test_one_that_is_deleted_by_others_ends_as_stopped(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.run_pods()
        script.train_step(0)
        time.sleep(0.1)
        cluster.grace_seconds = 0.3
        cluster.delete(NAME)
        script.train_step(1)
        script.end(0, 75, "stopped on request at step 1")

    cluster.script = script
    with pytest.raises(Preempted, match=r"(?s)was deleted while.*gristmill cancel.*stopped on request at step 1"):
        run()
    assert steps(log) == [0, 1], "what the pods write in their grace is shown too"


@leaves_a_socket
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_deletes_the_trainjob_before_anything_else(
    cut_off: None, cluster: FakeKubernetes, run: Follow, number: signal.Signals
):
    sent: list[float] = []

    def script(script: Script) -> None:
        script.run_pods()
        script.train_step(0)
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    cluster.script = script
    before = signal.getsignal(number)
    with pytest.raises(Preempted, match=rf"^stopped by {number.name}\n  TrainJob {NAME} is being deleted"):
        run()
    assert signal.getsignal(number) is before
    method, path, at = next(request for request in cluster.requests if request[2] > sent[0])
    assert (method, path) == ("DELETE", f"{TRAINJOBS}/{NAME}")
    assert at - sent[0] < 0.2
    cluster.scripts[0].wait_for(lambda: NAME not in cluster.trainjobs)


@leaves_a_socket
def test_a_signal_while_the_trainjob_is_being_created_deletes_it_when_it_is_there(
    cut_off: None, cluster: FakeKubernetes, run: Follow, monkeypatch: pytest.MonkeyPatch
):
    create = cluster.create

    def slowly(body: dict) -> dict:
        os.kill(os.getpid(), signal.SIGTERM)
        cluster.changed.wait(0.3)  # lets others in
        return create(body)

    monkeypatch.setattr(cluster, "create", slowly)
    with pytest.raises(Preempted, match="is being deleted"):
        run()
    assert len(cluster.made("DELETE")) > 1, "it was not there at first"
    cluster.scripts[0].wait_for(lambda: NAME not in cluster.trainjobs)


@leaves_a_socket
def test_a_signal_while_the_server_is_down_says_that_the_training_goes_on(
    cut_off: None, cluster: FakeKubernetes, run: Follow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stop, "DELETE_SECONDS", 0.1)

    def script(script: Script) -> None:
        script.run_pods()
        time.sleep(0.1)
        cluster.is_down = True
        os.kill(os.getpid(), signal.SIGTERM)

    cluster.script = script
    with pytest.raises(Preempted, match="could not be deleted and goes on without us: the Kubernetes API server"):
        run()


def test_an_outage_of_the_server_is_waited_out(cluster: FakeKubernetes, run: Follow, log: EventLog):
    def script(script: Script) -> None:
        script.run_pods()
        script.train_step(0)
        time.sleep(0.2)
        cluster.is_down = True
        with cluster.changed:
            cluster.changed.notify_all()
        script.train_step(1)
        time.sleep(0.5)
        cluster.is_down = False
        works(script, 0)

    cluster.script = script
    run()
    assert steps(log) == [0, 1]
    first, last = told(log, Warned)
    assert "does not answer" in first
    assert "trying again for 600 s" in first
    assert last == f"{cluster.url} answers again"


def test_an_answer_of_503_is_asked_for_again_and_one_of_4xx_is_not(cluster: FakeKubernetes, run: Follow, log: EventLog):
    cluster.script = works
    cluster.refuse("POST", "trainjobs", 503, "the webhook is starting", times=3)
    run()
    assert len(cluster.made("POST")) == 4
    cluster.refuse("GET", f"trainjobs/{NAME}", 403, "no")
    with pytest.raises(ServiceError, match="403 Forbidden"):
        run(anew=True)


def test_a_refusal_in_the_middle_says_that_the_training_goes_on(cluster: FakeKubernetes, run: Follow):
    def script(script: Script) -> None:
        script.run_pods()
        time.sleep(0.1)
        cluster.refuse("GET", f"trainjobs/{NAME}", 401, "Unauthorized")

    cluster.script = script
    with pytest.raises(ServiceError, match=r"(?s)401 Unauthorized.*goes on without us.*gristmill cancel demo"):
        run()
    assert NAME in cluster.trainjobs


def test_a_broken_stream_loses_no_line_and_repeats_none(
    cluster: FakeKubernetes, run: Follow, log: EventLog, capsys: pytest.CaptureFixture[str]
):
    cluster.cuts_logs_after = [0, 3, 1, 2, 0, 4]

    def script(script: Script) -> None:
        script.run_pods()
        now = time.time_ns()
        for number in range(20):
            script.say(
                json.dumps({"time": number, "kind": "train_step", "step": number, "steps": 99, "loss": 1.0}),
                at=now + number // 3,
            )
            script.say(f"line {number}", at=now + number // 3)  # several lines of one timestamp
            time.sleep(0.02)
        works(script, 0)

    cluster.script = script
    run()
    assert steps(log) == list(range(20))
    assert capsys.readouterr().err.splitlines() == [f"line {number}" for number in range(20)]
    assert not cluster.cuts_logs_after


def test_a_disk_that_is_full_ends_the_follower_and_not_only_its_thread(
    cluster: FakeKubernetes, run: Follow, monkeypatch: pytest.MonkeyPatch
):
    def full(self: EventLog, event: Event) -> None:
        if isinstance(event, TrainStep):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventLog, "emit", full)
    cluster.script = works
    with pytest.raises(OSError, match="No space left"):
        run()


def test_the_servers_words_are_kept_when_it_denies_the_trainjob(cluster: FakeKubernetes, run: Follow):
    words = 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.trainer.env: no'
    cluster.refuse("POST", "trainjobs", 403, words)
    with pytest.raises(ServiceError, match=rf"refused to create TrainJob ml/{NAME}: 403 Forbidden\n  {words}"):
        run()
