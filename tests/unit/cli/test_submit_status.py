"""`gristmill status`, `logs` and `cancel`: looking at runs on a cluster, and ending them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from llm.runs.event_kinds import Evicted, Queued, RunStarted, StepStarted
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.runs.mirror import mirrored
from llm.storage import Store, open_objects
from tests.cases.submission import FAILED, NAME, SUCCESS, TRAINING, Ended, config, gristmill
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look
from tests.unit.report.conftest import PASS, STEPS, SampleRun

NODE = "x7k2p.root.exit-handler-1"
TRAINJOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/kubeflow/trainjobs"


def at(kfp: KfpServer, capsys, *arguments: str) -> Ended:
    return gristmill(capsys, *arguments, f"cluster.kfp_uri={kfp.uri}")


def pretraining(kfp: KfpServer, script: list[Look], *overrides: str):
    """A run of the real pipeline, as `gristmill submit` starts it."""
    from google.protobuf import json_format

    from llm.config import to_yaml
    from pipelines.pretrain import pretrain

    specification = json_format.MessageToDict(pretrain.pipeline_spec)
    parameters = {"config": to_yaml(config(kfp, *overrides))}
    return kfp.add_run(NAME, script, pipeline_spec=specification, runtime_config={"parameters": parameters})


def trainjob(pods: ClusterServer, name: str, run: str, home: str = TRAINJOBS) -> None:
    pods.put(f"{home}/{name}", metadata={"labels": {"gristmill.io/run": run}})


def test_the_newest_runs_are_listed(capsys, kfp: KfpServer):
    assert "no runs at" in at(kfp, capsys, "status").out
    for name in ("first", "second"):
        kfp.add_run(name, [Look("SUCCEEDED")])
    lines = at(kfp, capsys, "status").out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "second", "first"]
    assert lines[1].split()[1:4] == ["SUCCEEDED", "7", "min"]
    assert [run["run"] for run in json.loads(at(kfp, capsys, "status", "--json").out)] == ["second", "first"]


def test_a_run_is_shown_with_its_steps_and_with_what_keeps_them_from_starting(
    capsys, kfp: KfpServer, pods: ClusterServer
):
    run = pretraining(kfp, TRAINING)
    pods.step_pod(run.id, f"{NODE}.train.executor", "Pending", conditions=[
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node has room"}
    ])  # fmt: skip
    for named in (NAME, run.id):
        shown = at(kfp, capsys, "status", named).out
        assert re.match(rf"run {NAME} RUNNING for [\d.]+ s, id {run.id}; {kfp.uri}/#/runs/details/{run.id}\n", shown)
        assert "train         RUNNING            n/a" in shown
        assert "train         cannot start yet: Unschedulable: no node has room" in shown
    document = json.loads(at(kfp, capsys, "status", NAME, "--json").out)
    assert document["cannot_start"] == {"train": "Unschedulable: no node has room"}


def test_a_step_that_waits_in_a_queue_is_told_with_the_queue(capsys, kfp: KfpServer, pods: ClusterServer):
    run = pretraining(kfp, TRAINING)
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "Scheduling is blocked"}
    name = pods.step_pod(run.id, f"{NODE}.train.executor", "Pending", conditions=[gated])
    assert "cannot start yet: SchedulingGated: Scheduling is blocked" in at(kfp, capsys, "status", NAME).out
    labels = pods.pods()[name]["metadata"]["labels"]
    labels["kueue.x-k8s.io/queue-name"] = "default"
    assert "cannot start yet: it waits in queue default of Kueue\n" in at(kfp, capsys, "status", NAME).out


def test_status_waits_for_a_run_that_another_process_submitted(capsys, kfp: KfpServer):
    pretraining(kfp, SUCCESS)
    ended = at(kfp, capsys, "status", NAME, "--wait")
    assert (ended.code, "train       succeeded after 9 s" in ended.err) == (0, True)
    pretraining(kfp, [*TRAINING, Look("FAILED", FAILED)])
    assert at(kfp, capsys, "status", NAME, "--wait").code == 70


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "pretrain-two"], "has no run pretrain-two\n  Did you mean pretrain-one?"),
        (["status", "--wait"], "error: --wait needs the name or id of a run"),
        (["status", "one", "two"], "error: one and two are two runs"),
        (["logs", "pretrain-two"], "has no run pretrain-two\n  Did you mean pretrain-one?"),
        (["logs", NAME, "--step", "trian"], "error: run pretrain-one has no step trian\n  Did you mean train?"),
        (["logs", NAME], "error: no log of a step of run pretrain-one can be read\n"),
        (["logs"], "of which run"),
        (["cancel", "pretrain-two"], "has no run pretrain-two\n  Did you mean pretrain-one?"),
        (["cancel"], "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_ends_with_2_and_what_to_do(capsys, kfp: KfpServer, arguments: list[str], message: str):
    pretraining(kfp, TRAINING)
    if len(arguments) == 1 and arguments[0] != "status":
        ended = gristmill(capsys, *arguments)
    else:
        ended = at(kfp, capsys, *arguments)
    assert ended.code == 2
    assert message in ended.err


def test_the_logs_of_all_steps_or_of_one_go_to_stdout(capsys, kfp: KfpServer, pods: ClusterServer):
    run = pretraining(kfp, TRAINING)
    pods.step_pod(run.id, f"{NODE}.ingest.executor", log="reading\n")
    pods.step_pod(run.id, f"{NODE}.train.executor", "Running", "training\n")
    both = at(kfp, capsys, "logs", NAME)
    assert (both.code, both.out) == (0, "reading\ntraining\n")
    assert [line.split()[1] for line in both.err.splitlines()] == ["ingest", "train"]
    assert at(kfp, capsys, "logs", NAME, "--step", "train").out == "training\n"


def test_logs_follow_a_run_to_its_end(capsys, kfp: KfpServer, pods: ClusterServer):
    run = pretraining(kfp, SUCCESS)
    pods.step_pod(run.id, f"{NODE}.ingest.executor", log="reading\n")
    pods.step_pod(run.id, f"{NODE}.train.executor", log="training\n")
    assert at(kfp, capsys, "logs", NAME, "--follow").out == "reading\ntraining\n"


def test_cancel_ends_the_pipeline_and_its_training_and_waits(capsys, kfp: KfpServer, pods: ClusterServer):
    run = pretraining(kfp, TRAINING, "training.pool=gpu")
    trainjob(pods, "mine", NAME)
    trainjob(pods, "anothers", "another")
    ended = at(kfp, capsys, "cancel", NAME)
    assert (ended.code, ended.out) == (0, f"run {NAME} has ended: FAILED\n")
    assert run.terminated
    assert pods.made("DELETE") == [f"{TRAINJOBS}/mine"]


def test_cancel_needs_no_cluster_for_a_run_that_trains_in_its_step(capsys, kfp: KfpServer):
    pretraining(kfp, TRAINING)
    assert at(kfp, capsys, "cancel", NAME).code == 0


def test_a_training_that_cannot_be_looked_for_is_told_after_the_pipelines_end(capsys, kfp: KfpServer):
    run = pretraining(kfp, TRAINING, "training.pool=gpu")
    ended = at(kfp, capsys, "cancel", NAME)
    assert ended.code == 2
    assert run.terminated
    assert "error: whether its training has ended is not known\n  the kubeconfig" in ended.err


@pytest.mark.parametrize(("override", "namespace"), [([], "ml"), (["cluster.namespace=mine"], "mine")])
def test_a_training_is_ended_in_the_namespace_that_is_given_or_in_the_runs_own(
    capsys, kfp: KfpServer, pods: ClusterServer, override: list[str], namespace: str
):
    pretraining(kfp, TRAINING, "training.pool=gpu", "cluster.namespace=ml")
    homes = {name: TRAINJOBS.replace("kubeflow/", f"{name}/") for name in ("kubeflow", "ml", "mine")}
    for home in homes.values():
        trainjob(pods, "one", NAME, home)
    assert at(kfp, capsys, "cancel", NAME, *override).code == 0
    assert pods.made("DELETE") == [f"{homes[namespace]}/one"]


def test_a_run_whose_configuration_is_not_valid_here_is_ended_with_its_training(
    capsys, kfp: KfpServer, pods: ClusterServer
):
    run = kfp.add_run(NAME, TRAINING, runtime_config={"parameters": {"config": '{"training": {"of_tomorrow": 1}}'}})
    trainjob(pods, "mine", NAME)
    ended = at(kfp, capsys, "cancel", NAME)
    assert (ended.code, ended.out) == (0, f"run {NAME} has ended: FAILED\n")
    assert run.terminated
    assert pods.made("DELETE") == [f"{TRAINJOBS}/mine"]
    assert "is not valid here: unknown config key training.of_tomorrow" in ended.err


def test_cancel_ends_a_training_that_a_workstation_started_without_kubeflow_pipelines(capsys, pods: ClusterServer):
    trainjob(pods, "mine", NAME)
    ended = gristmill(capsys, "cancel", NAME)
    assert (ended.code, ended.out) == (0, f"the training of run {NAME} has ended\n")
    assert pods.made("DELETE") == [f"{TRAINJOBS}/mine"]


def test_cancel_ends_a_training_of_which_kubeflow_pipelines_knows_nothing(capsys, kfp: KfpServer, pods: ClusterServer):
    trainjob(pods, "mine", NAME)
    ended = at(kfp, capsys, "cancel", NAME)
    assert ended.code == 0
    assert ended.out == f"the training of run {NAME} has ended; Kubeflow Pipelines at {kfp.uri} has no such run\n"


def test_a_kubeflow_pipelines_that_is_down_is_an_error_but_the_training_is_ended(capsys, pods: ClusterServer):
    trainjob(pods, "mine", NAME)
    ended = gristmill(capsys, "cancel", NAME, "cluster.kfp_uri=http://127.0.0.1:1")
    assert ended.code == 2
    assert f"the training of run {NAME} has ended" in ended.out
    assert "does not answer: Connection refused" in ended.err


def test_without_kubeflow_pipelines_and_without_a_training_there_is_nothing_to_cancel(capsys, pods: ClusterServer):
    ended = gristmill(capsys, "cancel", NAME)
    assert ended.code == 2
    said = f"no training of a run {NAME} is on the cluster\n  Kubeflow Pipelines was not found either: no address of"
    assert said in ended.err


def test_a_run_that_has_ended_stays_as_it_is(capsys, kfp: KfpServer):
    pretraining(kfp, [Look("SUCCEEDED")])
    ended = at(kfp, capsys, "cancel", NAME)
    assert (ended.code, ended.out) == (0, f"run {NAME} had ended before: SUCCEEDED\n")


def test_a_training_left_behind_by_a_run_that_has_ended_is_ended(capsys, kfp: KfpServer, pods: ClusterServer):
    pretraining(kfp, [Look("FAILED")], "training.pool=gpu")
    trainjob(pods, "mine", NAME)
    assert at(kfp, capsys, "cancel", NAME).out == f"run {NAME} had ended before: FAILED\n"
    assert pods.made("DELETE") == [f"{TRAINJOBS}/mine"]


def test_the_training_of_a_later_run_of_the_same_name_stays(capsys, kfp: KfpServer, pods: ClusterServer):
    ended_run = pretraining(kfp, [Look("FAILED")], "training.pool=gpu")
    later = pretraining(kfp, TRAINING, "training.pool=gpu")
    trainjob(pods, "its", NAME)
    ended = at(kfp, capsys, "cancel", ended_run.id)
    assert (ended.code, ended.out) == (0, f"run {NAME} had ended before: FAILED\n")
    assert f"run {NAME}, id {later.id}, is active: the training of that name is its own, and stays" in ended.err
    assert (pods.made("DELETE"), later.terminated) == ([], False)


def test_a_run_that_will_not_end_is_not_waited_for_for_ever(capsys, kfp: KfpServer):
    run = pretraining(kfp, TRAINING)
    run.at_terminate = [Look("CANCELING")]
    ended = at(kfp, capsys, "cancel", NAME)
    assert ended.code == 2
    assert f"error: run {NAME} was asked to end, and is still CANCELING after 3 min\n" in ended.err
    assert f"or wait for it: gristmill status {NAME} --wait" in ended.err


def test_the_last_lines_say_what_came_of_the_run_from_its_folder_in_the_bucket(
    capsys, kfp: KfpServer, s3: str, tmp_path: Path
):
    pretraining(kfp, SUCCESS, f"storage.uri={s3}")
    made = SampleRun(tmp_path, NAME)
    made.store = Store(s3)
    made.start().do(*STEPS, gate=PASS)
    home = RunFolder(tmp_path / "pod" / NAME)
    with mirrored(home, open_objects(f"{s3}/runs").below(NAME), "report"):
        shutil.copytree(made.folder.path, home.path, dirs_exist_ok=True)
    ended = at(kfp, capsys, "status", NAME, "--wait")
    assert ended.code == 0, ended.err
    assert "gate PASS against champion version 7" in ended.out
    assert "model models:/gristmill/8, now models:/gristmill@champion\n" in ended.out
    assert f"report {s3}/runs/{NAME}/report.html\nrun {NAME} SUCCEEDED after" in ended.out
    document = json.loads(at(kfp, capsys, "status", NAME, "--wait", "--json").out)
    assert (document["verdict"], document["model"]) == ("PASS", "models:/gristmill/8")


def test_a_bucket_that_cannot_be_read_from_here_changes_nothing_else(capsys, kfp: KfpServer):
    pretraining(kfp, SUCCESS)
    ended = at(kfp, capsys, "status", NAME, "--wait")
    assert ended.code == 0
    assert "what came of it cannot be read from here: " in ended.err
    assert ended.out.startswith(f"run {NAME} SUCCEEDED after")


def test_without_kubeflow_pipelines_cancel_says_what_it_ended_and_what_it_could_not_ask(
    capsys, kfp: KfpServer, pods: ClusterServer
):
    trainjob(pods, "one", NAME)
    kfp.stop()
    ended = at(kfp, capsys, "cancel", NAME)
    assert (ended.code, ended.out) == (2, f"the training of run {NAME} has ended\n")
    assert f"its training has ended; whether run {NAME} goes on in Kubeflow Pipelines is not known: " in ended.err


def test_status_says_how_a_training_stands_in_its_queue_from_the_runs_folder_in_the_bucket(
    capsys, kfp: KfpServer, s3: str, tmp_path: Path
):
    pretraining(kfp, TRAINING, f"storage.uri={s3}", "training.pool=gpu")
    home, bucket = RunFolder(tmp_path / "pod" / NAME), open_objects(f"{s3}/runs").below(NAME)
    with mirrored(home, bucket, "train"):
        log = EventLog(home.events)
        log.emit(RunStarted(pipeline="pretrain", kfp_run="1", time=1.0))
        log.emit(StepStarted(step="train", time=2.0))
        log.emit(
            Evicted(queue="team-a", reason="Preempted", message="Preempted to make room", by="Job nightly", time=3.0)
        )
        log.emit(Queued(queue="team-a", why="insufficient quota for cpu", place=2, again=True, time=4.0))
    waits = "waits again in queue team-a, place 2: insufficient quota for cpu"
    for command in (["status", NAME, f"cluster.kfp_uri={kfp.uri}"], ["status", NAME, "--runs", f"{s3}/runs"]):
        shown = gristmill(capsys, *command)
        stopped = "preempted in queue team-a by Job nightly: Preempted to make room"
        assert f"  train         {stopped}\n  train         {waits}\n" in shown.out
        assert json.loads(gristmill(capsys, *command, "--json").out)["queue"][-1] == waits


def test_a_queue_that_cannot_be_read_from_here_takes_nothing_else_from_status(capsys, kfp: KfpServer):
    pretraining(kfp, TRAINING, "training.pool=gpu")
    shown = at(kfp, capsys, "status", NAME)
    assert shown.code == 0
    assert "train         RUNNING" in shown.out
    assert "whether its training waits in a queue cannot be read from here: " in shown.err
