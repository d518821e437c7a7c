"""Waiting: every state to its end, a server that is away for a while, and each piece of news once."""

from __future__ import annotations

import threading
import time

import pytest

from llm.cluster import obstacles as obstacle
from llm.cluster.pipelines import wait as watch
from llm.cluster.pipelines.kfp_client import KfpApi, connect
from llm.cluster.pipelines.kfp_requests import KfpError
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.step_logs import StepLogs
from llm.cluster.pipelines.step_pods import StepPod
from llm.cluster.pipelines.wait import CannotStart, Narrator, Patience, wait
from llm.config import ClusterConfig
from pipelines.pretrain import pretrain
from tests.kfp_server import KfpServer, Look, Run
from tests.pods_server import PodsServer
from tests.submission_case import SUCCESS, TRAINING

QUICK = Patience(poll_seconds=0.02, away_seconds=5.0)


@pytest.fixture
def said() -> list[str]:
    return []


def started(kfp: KfpServer, *script: Look) -> Run:
    from google.protobuf import json_format

    return kfp.add_run("one", script, pipeline_spec=json_format.MessageToDict(pretrain.pipeline_spec))


def waited(kfp: KfpServer, api: KfpApi, said: list[str], *script: Look, patience: Patience = QUICK) -> RunState:
    return wait(api, started(kfp, *script).id, Narrator(said.append), patience)


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_every_end_ends_the_waiting(kfp: KfpServer, api: KfpApi, said: list[str], state: str):
    assert waited(kfp, api, said, Look("PENDING"), Look("RUNNING"), Look(state)).state == state


def test_states_that_go_on_and_those_that_nobody_knows_are_waited_through_and_told(
    kfp: KfpServer, api: KfpApi, said: list[str]
):
    script = [Look("PENDING"), Look("PAUSED"), Look("DISSOLVED"), Look("RUNNING"), Look("CANCELING"), Look("FAILED")]
    assert waited(kfp, api, said, *script).was_cancelled
    assert said == [
        "the run is waiting for the cluster to begin",
        "the run is paused; it goes on when whoever paused it lets it",
        "the run is DISSOLVED, a state that we do not know; waiting for its end",
        "the run is running",
        "the run is being cancelled",
    ]


def test_each_step_is_told_when_it_starts_and_when_it_ends_once(kfp: KfpServer, api: KfpApi, said: list[str]):
    waited(kfp, api, said, *SUCCESS)
    assert [line.split() for line in said[2:]] == [
        ["ingest", "started"],
        ["ingest", "succeeded", "after", "9", "s"],
        ["train", "started"],
        ["train", "succeeded", "after", "9", "s"],
        *[[step, "succeeded", "after", "9", "s"] for step in ("gate", "register", "promote", "deploy", "report")],
    ]


def test_the_steps_that_the_server_writes_after_the_runs_end_are_waited_for(
    kfp: KfpServer, api: KfpApi, said: list[str]
):
    run = waited(kfp, api, said, Look("SUCCEEDED", {"train": "RUNNING"}), Look("SUCCEEDED", {"train": "SUCCEEDED"}))
    assert run.steps[0].state == "SUCCEEDED"


def test_steps_that_never_get_an_end_do_not_hold_up_the_runs(kfp: KfpServer, api: KfpApi, said: list[str]):
    assert waited(kfp, api, said, Look("FAILED", {"train": "RUNNING"})).state == "FAILED"


def test_a_server_that_restarts_in_the_middle_is_waited_for(kfp: KfpServer, api: KfpApi, said: list[str]):
    run = started(kfp, Look("RUNNING", {"train": "RUNNING"}))

    def restart() -> None:
        kfp.stop()
        time.sleep(0.3)
        run.script = [Look("SUCCEEDED")]
        kfp.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    assert wait(api, run.id, Narrator(said.append), QUICK).state == "SUCCEEDED"
    restarting.join()
    (away,) = [line for line in said if "does not answer" in line]
    assert away.endswith("; trying again for 5 s, the run goes on")
    assert said[-1] == "Kubeflow Pipelines answers again"


def test_a_server_that_is_too_slow_for_a_while_is_waited_for(kfp: KfpServer, said: list[str]):
    run = started(kfp, Look("RUNNING"))
    api = connect(ClusterConfig(kfp_uri=kfp.uri, timeout_seconds=0.2))

    def hurry() -> None:
        time.sleep(0.5)
        run.script = [Look("SUCCEEDED")]
        kfp.delay_seconds = 0.0

    kfp.delay_seconds = 1.0
    hurrying = threading.Thread(target=hurry)
    hurrying.start()
    assert wait(api, run.id, Narrator(said.append), QUICK).state == "SUCCEEDED"
    hurrying.join()
    assert "nothing within 0.2 s; trying again" in said[0]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_server_that_stays_away_is_given_up_after_the_given_time(
    kfp: KfpServer, api: KfpApi, said: list[str], status: int
):
    run = started(kfp, Look("RUNNING"))
    kfp.answers = (status, "text/plain", b"upstream connect error")
    began = time.monotonic()
    with pytest.raises(KfpError, match=str(status)):
        wait(api, run.id, Narrator(said.append), Patience(poll_seconds=0.02, away_seconds=0.2))
    assert 0.2 <= time.monotonic() - began < 2.0


@pytest.mark.parametrize(("status", "words"), [(401, "has expired"), (403, "right to do this"), (404, "404")])
def test_a_refusal_is_not_waited_out(kfp: KfpServer, api: KfpApi, said: list[str], status: int, words: str):
    run = started(kfp, Look("RUNNING"))
    kfp.answers = (status, "text/plain", b"no")
    with pytest.raises(KfpError, match=words):
        wait(api, run.id, Narrator(said.append), QUICK)


def test_without_news_a_line_says_what_goes_on(kfp: KfpServer, api: KfpApi, said: list[str], monkeypatch):
    monkeypatch.setattr(watch, "HEARTBEAT_SECONDS", 0.0)
    train = {"train": "RUNNING"}
    waited(kfp, api, said, Look("RUNNING", train), Look("RUNNING", train), Look("SUCCEEDED"))
    assert "s: train running" in said[-1]


def held_up(step: str, trouble: str) -> StepPod:
    return StepPod(step, "kubeflow", step, False, "Pending", "2026-11-24T10:00:00Z", trouble)


def test_what_keeps_a_step_from_starting_is_told_once(said: list[str]):
    narrator = Narrator(said.append)
    for trouble in ("ErrImagePull: none", "ImagePullBackOff: back-off", "ErrImagePull: none", "ErrImagePull: still"):
        narrator.trouble([held_up("train", trouble)])
    narrator.trouble([held_up("evaluate", "ErrImagePull: none")])
    assert said == [
        "train       cannot start yet: ErrImagePull: none",
        "train       cannot start yet: ImagePullBackOff: back-off",
        "evaluate    cannot start yet: ErrImagePull: none",
    ]


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods are looked at with every look, and patience with them is soon at an end."""
    monkeypatch.setattr(watch, "TROUBLES_SECONDS", 0.0)
    for name in ("PULL_SECONDS", "CONFIGURATION_SECONDS"):
        monkeypatch.setattr(obstacle, name, 0.3)


def waits_for(pods: PodsServer, run: Run, reason: str, message: str) -> str:
    """The pod of `train`, whose container does not start."""
    waiting = {"name": "main", "image": "gristmill/train@sha256:0", "state": {"waiting": {
        "reason": reason, "message": message}}}  # fmt: skip
    return pods.pod(run.id, "x7k2p.root.train.executor", "Pending", containerStatuses=[waiting])


def seen_through(kfp: KfpServer, api: KfpApi, said: list[str], run: Run) -> RunState:
    logs = StepLogs(api, ClusterConfig(kfp_uri=kfp.uri))
    return wait(api, run.id, Narrator(said.append), QUICK, logs.held_up, for_seconds=30.0)


@pytest.mark.parametrize(
    ("reason", "message", "error", "at_once"),
    [
        ("ErrImageNeverPull", "is not present", "the image gristmill/train@sha256:0 cannot be had", True),
        ("InvalidImageName", "could not parse", "the image gristmill/train@sha256:0 cannot be had", True),
        ("ErrImagePull", "not found", "the image gristmill/train@sha256:0 cannot be had", False),
        ("ImagePullBackOff", "Back-off", "the image gristmill/train@sha256:0 cannot be had", False),
        (
            "CreateContainerConfigError",
            'secret "s3" not found',
            'its container cannot be made: secret "s3" not found',
            False,
        ),
    ],
)
def test_what_does_not_go_away_by_itself_ends_the_waiting_as_long_after_as_a_trainings(
    monkeypatch: pytest.MonkeyPatch, quick_looks: None, kfp: KfpServer, api: KfpApi, pods: PodsServer,
    said: list[str], reason: str, message: str, error: str, at_once: bool,
):  # fmt: skip
    if at_once:
        monkeypatch.setattr(obstacle, "PULL_SECONDS", 600.0)
    run = started(kfp, *TRAINING)
    pod = waits_for(pods, run, reason, message)
    began = time.monotonic()
    with pytest.raises(CannotStart) as raised:
        seen_through(kfp, api, said, run)
    assert at_once or time.monotonic() - began >= 0.3
    first, where, remedy = str(raised.value).split("\n  ")
    assert first == f"train cannot start: {error}"
    assert where.startswith(f"pod kubeflow/{pod}")
    assert reason in where
    assert ("make images" if "mage" in reason else "gristmill-platform") in remedy
    assert [line for line in said if "cannot start yet" in line] == (
        [] if at_once else [f"train       cannot start yet: {reason}: {message}"]
    )


def test_an_image_that_is_had_in_time_is_no_obstacle(
    quick_looks: None, kfp: KfpServer, api: KfpApi, pods: PodsServer, said: list[str]
):
    run = started(kfp, *TRAINING)
    pod = waits_for(pods, run, "ImagePullBackOff", "too many requests")

    def pull() -> None:
        time.sleep(0.1)
        pods.phase(pod, "Running")
        pods.objects[f"/api/v1/namespaces/kubeflow/pods/{pod}"]["status"]["containerStatuses"] = []
        time.sleep(0.4)
        run.script = [Look("SUCCEEDED")]

    pulling = threading.Thread(target=pull)
    pulling.start()
    assert seen_through(kfp, api, said, run).state == "SUCCEEDED"
    pulling.join()


@pytest.mark.parametrize(("gap_seconds", "is_given_up"), [(25.0, True), (0.05, False)])
def test_a_kubelets_state_that_blinks_is_the_same_obstacle_and_one_that_was_gone_for_longer_is_a_new_one(
    monkeypatch: pytest.MonkeyPatch, quick_looks: None, kfp: KfpServer, api: KfpApi, pods: PodsServer,
    said: list[str], gap_seconds: float, is_given_up: bool,
):  # fmt: skip
    monkeypatch.setattr(watch, "GAP_SECONDS", gap_seconds)
    run = started(kfp, *TRAINING)
    (waiting,) = pods.objects[f"/api/v1/namespaces/kubeflow/pods/{waits_for(pods, run, 'ErrImagePull', 'no')}"][
        "status"]["containerStatuses"]  # fmt: skip

    def blink() -> None:
        for reason in ("ImagePullBackOff", "ErrImagePull", "ImagePullBackOff"):
            time.sleep(0.15)
            waiting["state"] = {"waiting": {"reason": "ContainerCreating"}}
            time.sleep(0.15)
            waiting["state"] = {"waiting": {"reason": reason, "message": "no"}}
        if not is_given_up:
            run.script = [Look("SUCCEEDED")]

    blinking = threading.Thread(target=blink)
    blinking.start()
    if is_given_up:
        with pytest.raises(CannotStart, match="cannot be had"):
            seen_through(kfp, api, said, run)
    else:
        seen_through(kfp, api, said, run)
    blinking.join()


def test_a_node_that_has_yet_to_come_is_waited_for_without_end(
    quick_looks: None, kfp: KfpServer, api: KfpApi, pods: PodsServer, said: list[str]
):
    run = started(kfp, *TRAINING)
    pods.pod(run.id, "x7k2p.root.train.executor", "Pending", conditions=[
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node has room"}
    ])  # fmt: skip

    def end() -> None:
        time.sleep(0.6)
        run.script = [Look("SUCCEEDED")]

    ending = threading.Thread(target=end)
    ending.start()
    assert seen_through(kfp, api, said, run).state == "SUCCEEDED"
    ending.join()
    assert [line for line in said if "cannot start" in line] == [
        "train       cannot start yet: Unschedulable: no node has room"
    ]


def test_a_run_that_is_being_cancelled_is_not_given_up(
    quick_looks: None, kfp: KfpServer, api: KfpApi, pods: PodsServer, said: list[str]
):
    run = started(kfp, Look("CANCELING"), Look("CANCELING"), Look("FAILED"))
    waits_for(pods, run, "InvalidImageName", "could not parse")
    assert seen_through(kfp, api, said, run).was_cancelled
