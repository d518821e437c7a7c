"""`gristmill submit`: every end of a run has its exit code, and the package is the one that `kfp run create` takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm import images
from llm.cluster.pipelines.pods.step_logs import own_lines
from llm.cluster.pipelines.wait import Limits
from llm.images import OF_STEPS, Image, fingerprint, record
from tests.cases.submission import (
    FAILED,
    IN_PODS,
    LOG_OF_3,
    NAME,
    NOT_PROMOTED,
    PROMOTED,
    SUCCESS,
    TRAINING,
    Ended,
    gristmill,
)
from tests.fakes.cluster import POOLS, HandClock
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look, Run

SUBMIT = ("submit", "pretrain", *IN_PODS, f"run.name={NAME}")


def submit(capsys, kfp: KfpServer, *arguments: str) -> Ended:
    return gristmill(capsys, *SUBMIT, f"cluster.kfp_uri={kfp.uri}", *arguments)


def test_a_queue_that_is_stopped_is_said_and_the_run_begins(capsys, kfp: KfpServer, pods: ClusterServer):
    pods.put(f"{POOLS.format('kubeflow')}/cpu")
    pods.install_kueue()
    pods.kueue("localqueues", "team-a", "kubeflow", spec={"clusterQueue": "all", "stopPolicy": "Hold"})
    kfp.next_script = list(SUCCESS)
    ended = submit(capsys, kfp, "training.pool=cpu", "training.queue=team-a")
    assert "warning: queue team-a of namespace kubeflow is stopped (stopPolicy Hold" in ended.err
    assert ended.code == 0
    ended = submit(capsys, kfp, "training.pool=cpu", "training.queue=team-b")
    assert "error: training.queue=team-b: namespace kubeflow has no LocalQueue of that name" in ended.err
    assert ended.code == 2


def test_a_queue_of_steps_that_is_not_there_is_refused_before_the_run_begins(
    capsys, kfp: KfpServer, pods: ClusterServer
):
    pods.install_kueue()
    ended = submit(capsys, kfp, "pods.steps.export.queue=team-b")
    assert (ended.code, kfp.runs) == (2, {})
    assert "error: pods.steps.export.queue=team-b: namespace kubeflow has no LocalQueue of that name" in ended.err
    pods.kueue("localqueues", "team-b", "kubeflow", spec={"clusterQueue": "all", "stopPolicy": "Hold"})
    kfp.next_script = list(SUCCESS)
    ended = submit(capsys, kfp, "pods.steps.export.queue=team-b")
    assert (ended.code, len(kfp.runs)) == (0, 1)
    assert "warning: queue team-b of namespace kubeflow is stopped" in ended.err


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        (SUCCESS, 0, ""),
        ([*TRAINING, Look("SUCCEEDED", NOT_PROMOTED)], 4, "error: the gate did not pass the model"),
        ([*TRAINING, Look("FAILED", FAILED)], 70, "error: train failed, and its log cannot be read"),
        ([Look("FAILED")], 2, "no step of it failed"),
        ([*TRAINING, Look("CANCELED")], 75, "error: cancelled: submit the same again to go on"),
        ([*TRAINING, Look("CANCELING"), Look("FAILED", FAILED)], 75, "error: cancelled"),
        ([Look("PENDING"), Look("SKIPPED")], 2, "error: Kubeflow Pipelines skipped the whole run"),
        ([Look("PAUSED"), Look("DISSOLVED"), Look("SUCCEEDED", PROMOTED)], 0, ""),
    ],
    ids=lambda value: "-".join(look.state for look in value) if isinstance(value, list) else "",
)
def test_every_end_of_a_run_has_its_exit_code(capsys, kfp: KfpServer, script: list[Look], code: int, message: str):
    kfp.next_script = list(script)
    ended = submit(capsys, kfp)
    assert ended.code == code
    assert message in ended.err
    assert ended.out.startswith(f"run {NAME} {script[-1].state} after 7 min; {kfp.uri}/#/runs/details/")


def test_the_log_of_the_failed_step_is_printed_and_its_own_code_is_ours(capsys, kfp: KfpServer, pods: ClusterServer):
    kfp.next_script = [*TRAINING, Look("FAILED", FAILED)]
    made = kfp.add_run  # the pod is there once the run is

    def with_its_pod(*arguments, **options):
        run = made(*arguments, **options)
        pods.step_pod(run.id, "x7k2p.root.exit-handler-1.train.executor", "Failed", "step 0/40\n" * 60 + LOG_OF_3)
        return run

    kfp.add_run = with_its_pod
    ended = submit(capsys, kfp)
    assert ended.code == 3
    assert "train       FAILED after 9 s" in ended.err
    assert ended.err.count("step 0/40") == 40 - len(own_lines(LOG_OF_3))
    assert "main.go" not in ended.err
    assert "the corpus did not pass its suite" in ended.err
    assert f"--- all of it: gristmill logs {NAME} --step train" in ended.err
    assert ended.err.endswith("error: train: the corpus did not pass its suite\n  Fix the documents below.\n")


@pytest.fixture
def stuck(kfp: KfpServer, pods: ClusterServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run's training has an image that no registry has."""
    kfp.next_script = [*TRAINING * 200, Look("SUCCEEDED", PROMOTED)]
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    container = {"name": "main", "image": "gristmill/train@sha256:0", "state": {"waiting": waiting}}
    made = kfp.add_run

    def with_its_pod(*arguments, **options) -> Run:
        run = made(*arguments, **options)
        pods.step_pod(run.id, "x7k2p.root.train.executor", "Pending", containerStatuses=[container])
        return run

    monkeypatch.setattr(kfp, "add_run", with_its_pod)


def test_a_step_whose_image_nobody_has_ends_the_run_with_its_training_and_says_what_to_do(
    capsys, kfp: KfpServer, pods: ClusterServer, stuck: None
):
    trainjobs = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/kubeflow/trainjobs"
    pods.put(f"{trainjobs.removesuffix('trainjobs')}trainingruntimes/gpu")
    pods.put(f"{trainjobs}/mine", metadata={"labels": {"gristmill.io/run": NAME}})
    ended = submit(capsys, kfp, "training.pool=gpu")
    assert (ended.code, ended.out.startswith(f"run {NAME} FAILED")) == (2, True)
    assert kfp.only_run.terminated
    assert pods.made("DELETE") == [f"{trainjobs}/mine"]
    (pod,) = pods.logs
    assert "train       cannot start yet: ImagePullBackOff: Back-off pulling image\n" in ended.err
    assert "cancelling the run; Ctrl-C leaves it to the cluster\n" in ended.err
    assert ended.err.endswith(
        "error: train cannot start: the image gristmill/train@sha256:0 cannot be pulled\n"
        f"  pod kubeflow/{pod}: ImagePullBackOff: Back-off pulling image\n"
        "  If the cluster should have it: `make images`, then load them (scripts/load_images.py), or push them"
        " (scripts/make_images.py --push REPOSITORY).\n"
        "  The run was cancelled: submit the same again to go on\n"
    )
    assert "log cannot be read" not in ended.err


def test_a_run_that_cannot_start_is_left_to_whoever_submitted_it_when_another_one_waits(
    capsys, kfp: KfpServer, stuck: None
):
    assert submit(capsys, kfp, "--no-wait").code == 0
    ended = gristmill(capsys, "status", NAME, "--wait", f"cluster.kfp_uri={kfp.uri}")
    assert (ended.code, kfp.only_run.terminated) == (2, False)
    assert "error: train cannot start: the image gristmill/train@sha256:0 cannot be pulled\n" in ended.err
    assert ended.err.endswith(f"  The run still waits for it. To end the run: gristmill cancel {NAME}\n")


def test_a_document_names_the_step_that_could_not_start(capsys, kfp: KfpServer, stuck: None):
    document = json.loads(submit(capsys, kfp, "--json").out)
    assert (document["state"], document["exit_code"], document["failed_step"]) == ("FAILED", 2, "train")


def test_where_the_log_cannot_be_read_it_says_why_and_where_to_look(capsys, kfp: KfpServer):
    kfp.next_script = [Look("FAILED", FAILED)]
    ended = submit(capsys, kfp)
    assert "train's log cannot be read from here: the kubeconfig" in ended.err
    assert f"See it in Kubeflow Pipelines, {kfp.uri}/#/runs/details/{kfp.only_run.id}" in ended.err


def test_without_waiting_the_run_is_started_and_named(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    ended = submit(capsys, kfp, "--no-wait")
    assert (ended.code, ended.out) == (0, f"run {NAME} {kfp.only_run.id}\n")
    assert f"next: gristmill status {NAME} --wait" in ended.err
    assert kfp.requests[-1] == "GET /apis/v2beta1/runs"


def test_as_a_document(capsys, kfp: KfpServer):
    kfp.next_script = [*TRAINING, Look("FAILED", FAILED)]
    document = json.loads(submit(capsys, kfp, "--json").out)
    assert document["run"] == NAME
    assert (document["state"], document["exit_code"], document["failed_step"]) == ("FAILED", 70, "train")
    assert [step["name"] for step in document["steps"]] == ["ingest", "train", "report"]
    other = json.loads(submit(capsys, kfp, "--json", "--no-wait", "run.name=other").out)
    assert (other["run"], other["service_account"]) == ("other", "gristmill-pipeline")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["storage.uri=store"], "error: storage.uri=store is a folder"),
        (["tracking.uri=null"], "error: tracking.uri=null keeps what is tracked in files"),
        (["cluster.service_account=Robot"], "error: cluster.service_account='Robot' is not allowed"),
        (["cluster.kfp_uri=http://127.0.0.1:1"], "does not answer: Connection refused"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    capsys, kfp: KfpServer, arguments: list[str], message: str
):
    ended = submit(capsys, kfp, *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert kfp.runs == {}


def test_a_package_that_cannot_run_in_pods_is_compiled_with_a_warning(capsys, tmp_path: Path):
    package = tmp_path / "pretrain.yaml"
    ended = gristmill(capsys, "compile", "pretrain", "-o", str(package))
    assert (ended.code, package.is_file()) == (0, True)
    assert "warning: storage.uri=store is a folder, and the steps" in ended.err
    assert "is a folder" not in gristmill(capsys, "compile", "pretrain", *IN_PODS, "-o", str(package)).err


def test_images_that_are_not_of_this_tree_are_warned_of_by_compile_and_submit(
    capsys, kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(images, "BUILT", tmp_path / "images.json")

    def warned() -> list[list[str]]:
        compiled = gristmill(capsys, "compile", "pretrain", *IN_PODS, "-o", str(tmp_path / "pretrain.yaml"))
        kfp.runs.clear()
        submitted = submit(capsys, kfp, "--no-wait")
        assert (compiled.code, submitted.code) == (0, 0)
        return [[line for line in one.err.splitlines() if "warning" in line] for one in (compiled, submitted)]

    def build(sources: str) -> None:
        record({name: Image(f"gristmill/{name}:0", "sha256:1", "sha256:2", 1, None, sources) for name in OF_STEPS})

    names = "warning: the images data, train, export, registry were not built"
    then = ": the pods run what has this version's tag; `make images` builds this tree"
    assert warned() == [[f"{names}{then}"]] * 2
    build("of another tree")
    assert warned() == [[f"{names} from the sources that are here now{then}"]] * 2
    build(fingerprint())
    assert warned() == [[], []]


def test_a_package_with_a_password_is_not_compiled(capsys, tmp_path: Path):
    package = tmp_path / "pretrain.yaml"
    ended = gristmill(capsys, "compile", "pretrain", "tracking.uri=http://me:hunter2@mlflow/", "-o", str(package))
    assert (ended.code, package.exists()) == (2, False)
    assert "error: an address in the configuration holds a password" in ended.err
    assert "hunter2" not in ended.err


def test_a_pipeline_that_is_none_is_refused_with_the_nearest(capsys, kfp: KfpServer):
    ended = gristmill(capsys, "submit", "pretrian", f"cluster.kfp_uri={kfp.uri}")
    assert (ended.code, ended.err) == (2, "error: there is no pipeline pretrian\n  Did you mean pretrain?\n")


def test_a_second_run_of_a_name_is_refused(capsys, kfp: KfpServer):
    kfp.add_run(NAME, TRAINING)
    ended = submit(capsys, kfp)
    assert ended.code == 2
    assert f"error: a run {NAME} is active already: RUNNING" in ended.err
    assert len(kfp.runs) == 1


def test_the_same_command_makes_the_same_name(capsys, kfp: KfpServer):
    arguments = ("submit", "pretrain", *IN_PODS, f"cluster.kfp_uri={kfp.uri}", "--no-wait")
    kfp.next_script = TRAINING
    assert gristmill(capsys, *arguments).code == 0
    assert "is active already" in gristmill(capsys, *arguments).err
    assert gristmill(capsys, *arguments, "training.seed=7").code == 0


def test_a_server_that_stays_away_ends_the_waiting_and_says_that_the_run_goes_on(
    capsys, kfp: KfpServer, clock: HandClock
):
    kfp.next_script = TRAINING
    answer = kfp.answer

    def gone_once_it_runs(method, path, query, body):
        if path.startswith("/apis/v2beta1/runs/"):
            kfp.answers = (503, "text/plain", b"no healthy upstream")
        return answer(method, path, query, body)

    kfp.answer = gone_once_it_runs
    ended = submit(capsys, kfp)
    assert ended.code == 2
    assert clock.now() >= Limits().away_seconds
    assert "refuses: 503 Service Unavailable: no healthy upstream" in ended.err
    assert ended.err.endswith(f"The run continues without this command: gristmill status {NAME} --wait\n")


def test_kubeflow_pipelines_own_command_takes_the_same_package_and_makes_the_same_run(
    capsys, kfp: KfpServer, tmp_path: Path
):
    from llm.cli.run import load_pipeline
    from llm.cluster.pipelines.package import compile_package, for_a_cluster
    from llm.config import compose

    overrides = (*IN_PODS, f"run.name={NAME}", f"cluster.kfp_uri={kfp.uri}")
    assert gristmill(capsys, "submit", "pretrain", *overrides, "--no-wait").code == 0
    package = tmp_path / "pretrain.yaml"
    config = for_a_cluster("pretrain", compose(overrides))
    compile_package(load_pipeline("pretrain", config), config, package)
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", kfp.uri, "run", "create"]
    created = subprocess.run(
        [*command, "-e", "gristmill", "-r", NAME, "-f", str(package)],
        capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert created.returncode == 0, created.stderr
    ours, theirs = (dict(run.body) for run in kfp.runs.values())
    assert ours.pop("service_account") == "gristmill-pipeline"
    assert ours == theirs
    assert len(kfp.experiments) == 1
