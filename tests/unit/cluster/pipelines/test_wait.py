"""Waiting: every state to its end, a server that is away for a while, and each piece of news once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from llm.cluster.pipelines.kfp_client import KfpApi, connect
from llm.cluster.pipelines.pods.step_pods import NODE_ANNOTATION, step_pod
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.wait import CannotStart, Limits, RunPrinter, wait
from llm.cluster.refusal import Refused, Unreachable
from llm.config import ClusterConfig
from pipelines.pretrain import pretrain
from tests.cases.submission import SUCCESS, TRAINING
from tests.fakes.cluster import HandClock
from tests.fakes.kfp_server import KfpServer, Look, Run


@pytest.fixture
def said() -> list[str]:
    return []


def started(kfp: KfpServer, *script: Look) -> Run:
    from google.protobuf import json_format

    return kfp.add_run("one", script, pipeline_spec=json_format.MessageToDict(pretrain.pipeline_spec))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def limits(clock: HandClock) -> Limits:
    return Limits(clock=clock)


@pytest.fixture
def printer(said: list[str], clock: HandClock) -> RunPrinter:
    return RunPrinter(said.append, clock)


def waited(kfp: KfpServer, api: KfpApi, said: list[str], *script: Look) -> RunState:
    clock = HandClock()
    return wait(api, started(kfp, *script).id, RunPrinter(said.append, clock), Limits(clock=clock))


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
        "the run is paused, until somebody resumes it",
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


def test_a_server_that_restarts_in_the_middle_is_waited_for(
    kfp: KfpServer, api: KfpApi, said: list[str], clock: HandClock, limits: Limits, printer: RunPrinter
):
    run = started(kfp, Look("RUNNING", {"train": "RUNNING"}))

    def back() -> None:
        run.script = [Look("SUCCEEDED")]
        kfp.start()

    clock.after(1, kfp.stop)
    clock.after(200, back)
    assert wait(api, run.id, printer, limits).state == "SUCCEEDED"
    (away,) = [line for line in said if "does not answer" in line]
    assert away.endswith("; trying again for 5 min, the run goes on")
    assert said[-1] == "Kubeflow Pipelines answers again"


def test_a_server_that_is_too_slow_for_a_while_is_waited_for(
    kfp: KfpServer, said: list[str], clock: HandClock, limits: Limits, printer: RunPrinter
):
    run = started(kfp, Look("RUNNING"), Look("SUCCEEDED"))
    api = connect(ClusterConfig(kfp_uri=kfp.uri, timeout_seconds=0.2))
    kfp.delay_seconds = 1.0
    clock.after(0.1, lambda: setattr(kfp, "delay_seconds", 0.0))
    assert wait(api, run.id, printer, limits).state == "SUCCEEDED"
    assert "no answer within 0.2 s; trying again" in said[0]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_server_that_stays_away_is_given_up_after_the_given_time(
    kfp: KfpServer, api: KfpApi, clock: HandClock, limits: Limits, printer: RunPrinter, status: int
):
    run = started(kfp, Look("RUNNING"))
    kfp.answers = (status, "text/plain", b"upstream connect error")
    with pytest.raises(Unreachable, match=str(status)):
        wait(api, run.id, printer, limits)
    assert clock.now() == limits.away_seconds


@pytest.mark.parametrize(("status", "words"), [(401, "has expired"), (403, "right to do this"), (404, "404")])
def test_a_refusal_is_not_waited_out(
    kfp: KfpServer, api: KfpApi, clock: HandClock, limits: Limits, printer: RunPrinter, status: int, words: str
):
    run = started(kfp, Look("RUNNING"))
    kfp.answers = (status, "text/plain", b"no")
    with pytest.raises(Refused, match=words):
        wait(api, run.id, printer, limits)
    assert clock.now() == 0


def test_without_news_a_line_says_what_runs(kfp: KfpServer, api: KfpApi, said: list[str]):
    waited(kfp, api, said, *[Look("RUNNING", {"train": "RUNNING"})] * 40, Look("SUCCEEDED"))
    assert len([line for line in said if "s: train running" in line]) == 2


def waiting(reason: str, message: str = "none", step: str = "train") -> dict[str, Any]:
    """The pod of a step, whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {
        "metadata": {"name": f"x7k2p-{step}", "namespace": "kubeflow",
                     "annotations": {NODE_ANNOTATION: f"x7k2p.root.{step}.executor"}},
        "status": {"containerStatuses": [{"name": "main", "image": "gristmill/train@sha256:0", "state": state}]},
    }  # fmt: skip


def test_what_keeps_a_step_from_starting_is_told_once(said: list[str], printer: RunPrinter):
    for reason, words in (("ErrImagePull", "none"), ("ImagePullBackOff", "back-off"), ("ErrImagePull", "still")):
        printer.trouble([step_pod(waiting(reason, words))])
    printer.trouble([step_pod(waiting("ErrImagePull", step="evaluate"))])
    assert said == [
        "train       cannot start yet: ErrImagePull: none",
        "train       cannot start yet: ImagePullBackOff: back-off",
        "evaluate    cannot start yet: ErrImagePull: none",
    ]


Pods = Callable[[float], list[dict[str, Any]]]


def seen_through(
    kfp: KfpServer, api: KfpApi, limits: Limits, printer: RunPrinter, pods: Pods, end: float, look: Look = TRAINING[0]
) -> float:
    """Wait for a run that ends after so many seconds, with these pods; returns when that was."""
    limits = replace(limits, poll_seconds=10)
    run = started(kfp, look)
    limits.clock.after(end, lambda: setattr(run, "script", [Look("SUCCEEDED")]))  # type: ignore[attr-defined]
    wait(api, run.id, printer, limits, lambda run_id: [step_pod(one) for one in pods(limits.clock.now())])
    return limits.clock.now()


@pytest.mark.parametrize(
    ("reason", "message", "error", "seconds"),
    [
        ("ErrImageNeverPull", "is not present", "the image gristmill/train@sha256:0 cannot be pulled", 10),
        ("ErrImagePull", "not found", "the image gristmill/train@sha256:0 cannot be pulled", 70),
        ("CreateContainerConfigError", 'secret "s3" not found', 'cannot be made: secret "s3" not found', 20),
    ],
)
def test_what_does_not_go_away_by_itself_ends_the_wait_after_as_long_as_a_trainings(
    kfp: KfpServer, api: KfpApi, said: list[str], clock: HandClock, limits: Limits, printer: RunPrinter,
    reason: str, message: str, error: str, seconds: float,
):  # fmt: skip
    with pytest.raises(CannotStart) as raised:
        seen_through(kfp, api, limits, printer, lambda now: [waiting(reason, message)], end=200)
    assert clock.now() == seconds, "pods are looked at every ten seconds"
    first, where, remedy = str(raised.value).split("\n  ")
    assert first.startswith("train cannot start: ")
    assert error in first
    assert where.startswith("pod kubeflow/x7k2p-train")
    assert reason in where
    assert ("make images" if "mage" in reason else "gristmill-platform") in remedy
    said_first = [f"train       cannot start yet: {reason}: {message}"] if seconds > 10 else []
    assert [line for line in said if "cannot start yet" in line] == said_first


def blinking(times: set[int]) -> Pods:
    """An image that is not pulled, but at some times the kubelet tries again."""
    return lambda now: [waiting("ContainerCreating" if int(now) in times else "ErrImagePull")]


@pytest.mark.parametrize(
    ("pods", "is_given_up"),
    [
        (blinking({20, 40, 60}), True),
        (blinking({20, 30, 60, 70, 100, 110, 140, 150, 180, 190}), False),
        (blinking(set(range(50, 200))), False),
        (lambda now: [], False),
    ],
    ids=["blinks", "was gone for longer each time", "is had in time", "no pods"],
)
def test_a_kubelets_state_that_blinks_is_the_same_obstacle_and_one_that_was_gone_is_a_new_one(
    kfp: KfpServer, api: KfpApi, limits: Limits, printer: RunPrinter, pods: Pods, is_given_up: bool
):
    if is_given_up:
        with pytest.raises(CannotStart, match="cannot be pulled"):
            seen_through(kfp, api, limits, printer, pods, end=200)
    else:
        assert seen_through(kfp, api, limits, printer, pods, end=200) >= 200


def test_a_node_that_has_yet_to_come_is_waited_for_without_end(
    kfp: KfpServer, api: KfpApi, said: list[str], limits: Limits, printer: RunPrinter
):
    no_room = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node has room"}
    pod = {**waiting("x"), "status": {"conditions": [no_room]}}
    assert seen_through(kfp, api, limits, printer, lambda now: [pod], end=1000) >= 1000
    assert [line for line in said if "cannot start" in line] == [
        "train       cannot start yet: Unschedulable: no node has room"
    ]


def test_a_run_that_is_being_cancelled_is_not_given_up(
    kfp: KfpServer, api: KfpApi, limits: Limits, printer: RunPrinter
):
    pods = [waiting("InvalidImageName", "could not parse")]
    assert seen_through(kfp, api, limits, printer, lambda now: pods, 200, Look("CANCELING")) >= 200
