"""Waiting: every state to its end, a server that is away for a while, and each piece of news once."""

from __future__ import annotations

import threading
import time

import pytest

from llm.config import ClusterConfig
from llm.kubernetes.submission import watch
from llm.kubernetes.submission.kfp_api import KfpApi, connect
from llm.kubernetes.submission.kfp_requests import KfpError
from llm.kubernetes.submission.run_state import RunState
from llm.kubernetes.submission.watch import Narrator, Patience, wait
from pipelines.pretrain import pretrain
from tests.kfp_server import KfpServer, Look, Run
from tests.submission_case import SUCCESS

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


def test_what_keeps_a_step_from_starting_is_told_once(said: list[str]):
    narrator = Narrator(said.append)
    for trouble in ("ErrImagePull: none", "ImagePullBackOff: back-off", "ErrImagePull: none", "ErrImagePull: still"):
        narrator.trouble({"train": trouble})
    narrator.trouble({"evaluate": "ErrImagePull: none"})
    assert said == [
        "train       cannot start yet: ErrImagePull: none",
        "train       cannot start yet: ImagePullBackOff: back-off",
        "evaluate    cannot start yet: ErrImagePull: none",
    ]
