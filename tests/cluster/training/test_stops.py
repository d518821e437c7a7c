"""How a training on a cluster is stopped: cancelled, left by its launcher, suspended, out of time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.cluster.trainjobs.trainjob import TrainJobSpec, manifest
from llm.runs import RunFolder
from llm.training.checkpoint.find import newest_checkpoint
from tests.cases.cluster import kubectl, objects, phase, pods_of, wait_for
from tests.cluster.training.case import GRISTMILL, ON_ONE_NODE, ON_THE_POOL, Case, gristmill


def test_a_workstation_trains_on_the_pool_and_its_ctrl_c_takes_the_train_job_along(case: Case, tmp_path: Path):
    arguments = case.workstation_arguments(tmp_path, *ON_THE_POOL, "training.length.steps=3000")
    command = [*GRISTMILL, "run", "pretrain", *arguments]
    environment = {**os.environ, "GRISTMILL_TRAIN_IMAGE": case.image}
    errors = tmp_path / "stderr"
    with errors.open("w") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
        events = RunFolder(tmp_path / "runs" / "workstation").events
        wait_for(lambda: events.is_file() and '"train_step"' in events.read_text(), "a step", 180)
        assert case.train_job("workstation") is not None
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 75, errors.read_text()
    wait_for(lambda: case.train_job("workstation") is None, "the TrainJob to be gone")


def test_a_launcher_that_is_killed_a_second_after_its_sigterm_has_deleted_its_train_job(case: Case):
    """As Argo ends a step at Terminate. Its pod stays, so it is not the pod's end that takes the TrainJob along."""
    launcher = _launched(case, "terminated", "training.length.steps=3000")
    case.kill(launcher, "kill -TERM -1; sleep 1; kill -KILL -1")
    wait_for(lambda: case.train_job("terminated") is None, "the TrainJob to be gone", 90)
    wait_for(lambda: phase(case.namespace, launcher) == "Failed", "the launcher's end", 30)


def test_a_train_job_whose_launcher_could_not_delete_it_goes_with_the_launchers_pod(case: Case):
    launcher = _launched(case, "orphaned", "training.length.steps=3001")
    case.kill(launcher, "kill -KILL -1")
    wait_for(lambda: phase(case.namespace, launcher) == "Failed", "the launcher's end", 30)
    job = case.train_job("orphaned")
    assert job is not None
    assert "deletionTimestamp" not in job["metadata"], "it goes on while its owner is there"
    assert [(owner["kind"], owner["name"]) for owner in job["metadata"]["ownerReferences"]] == [("Pod", launcher)]
    kubectl("-n", case.namespace, "delete", "pod", launcher, "--grace-period=0", "--force")
    wait_for(lambda: case.train_job("orphaned") is None, "the garbage collector", 90)
    wait_for(lambda: not pods_of(case.namespace, job["metadata"]["name"]), "its pods to be gone", 90)


def test_cancel_leaves_a_checkpoint_and_nothing_else(
    case: Case, tmp_path: Path, record_figure: Callable[[str, str], None]
):
    config = case.config("cancelled", *ON_THE_POOL, "training.checkpoints.every_steps=1000", store="-cancelled")
    launcher = case.launch(config)
    case.wait_for_step("cancelled", 5)
    job = case.train_job("cancelled")
    assert job is not None
    name = job["metadata"]["name"]
    began = time.monotonic()
    pods = {pod["metadata"]["name"] for pod in pods_of(case.namespace, name)}
    assert len(pods) == 2
    with _exit_codes(case.namespace, name, tmp_path / "endings") as exit_codes:
        done = gristmill("cancel", "cancelled", f"cluster.namespace={case.namespace}")
        assert done.returncode == 0, done.stderr
        record_figure("seconds from cancel until all is gone", f"{time.monotonic() - began:.0f}")
    endings = exit_codes()
    assert {pod: endings.get(pod) for pod in pods} == dict.fromkeys(pods, "75"), "killed at the end of its grace"
    assert case.train_job("cancelled") is None
    assert not pods_of(case.namespace, name)
    assert not objects(case.namespace, "jobsets", "--field-selector", f"metadata.name={name}")
    newest, _ = newest_checkpoint(case.workspace(config))
    assert newest is not None
    assert newest.state().step >= 5
    assert case.end(launcher) == "Failed"


def test_a_pod_that_is_stopped_before_it_listens_ends_at_once(case: Case, tmp_path: Path):
    """The kernel would drop the SIGTERM, were the training the first process of its pod."""
    deaf = TrainJobSpec(run="deaf", task="train", pool="cpu", nodes=1, processes=1, command=("sleep", "600"))
    job = manifest(deaf, case.namespace, case.image, None)
    kubectl("-n", case.namespace, "create", "-f", "-", stdin=json.dumps(job))
    name = job["metadata"]["name"]
    wait_for(lambda: [pod for pod in pods_of(case.namespace, name) if pod["status"]["phase"] == "Running"], "its pod")
    (pod,) = (pod["metadata"]["name"] for pod in pods_of(case.namespace, name))
    with _exit_codes(case.namespace, name, tmp_path / "endings") as exit_codes:
        done = gristmill("cancel", "deaf", f"cluster.namespace={case.namespace}")
        assert done.returncode == 0, done.stderr
    assert exit_codes().get(pod) == str(128 + signal.SIGTERM), "it was killed at the end of its grace"


def test_a_suspended_training_is_queued_and_goes_on_when_it_is_resumed(case: Case):
    """As a queue does it. Trainer (2.0 to 2.3) takes a change of spec.suspend at any time, and JobSet follows."""
    config = case.config("queued", "training.pool=cpu", *ON_ONE_NODE, "training.length.steps=10", store="-stops")
    launcher = case.launch(config)
    name = wait_for(lambda: case.train_job("queued"), "the TrainJob")["metadata"]["name"]
    _suspend(case, name, True)
    wait_for(lambda: "queued: the TrainJob is suspended" in case.log(launcher), "the launcher to say so", 60)
    wait_for(lambda: not pods_of(case.namespace, name), "its pods to be gone", 90)
    _suspend(case, name, False)
    assert case.end(launcher) == "Succeeded", case.log(launcher)
    done = case.checkpoint(config)
    assert done.counts["steps"] == 10


def test_a_training_that_outlasts_the_deadline_of_its_pool_fails_in_those_words(case: Case):
    deadline = "/spec/template/spec/replicatedJobs/0/template/spec/activeDeadlineSeconds"
    shorter = [{"op": "replace", "path": deadline, "value": 15}]  # the chart gives no less than a minute
    kubectl("-n", case.namespace, "patch", "trainingruntime", "brief", "--type=json", "-p", json.dumps(shorter))
    config = case.config("late", "training.pool=brief", *ON_ONE_NODE, "training.length.steps=10000", store="-stops")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    words = r"error: (.|\n)*The deadline of pool brief has passed \(its deadlineSeconds\)"
    assert re.search(words, case.log(launcher)), case.log(launcher)


def _launched(case: Case, run: str, *overrides: str) -> str:
    """A launcher whose training runs; its pod's name."""
    config = case.config(run, "training.pool=cpu", *ON_ONE_NODE, *overrides, store="-stops")
    launcher = case.launch(config)

    def runs() -> bool:
        job = case.train_job(run)
        return job is not None and any(
            pod["status"]["phase"] == "Running" for pod in pods_of(case.namespace, job["metadata"]["name"])
        )

    wait_for(runs, "the training to run", 90)
    return launcher


def _suspend(case: Case, job: str, suspend: bool) -> None:
    patch = json.dumps({"spec": {"suspend": suspend}})
    kubectl("-n", case.namespace, "patch", "trainjob", job, "--type=merge", "-p", patch)


@contextmanager
def _exit_codes(namespace: str, job: str, kept: Path) -> Iterator[Callable[[], dict[str, str]]]:
    """What each pod of a TrainJob ends with, by a watch: a moment after its end a pod may be gone."""
    code = ".status.containerStatuses[0].state.terminated.exitCode"
    command = ["kubectl", "-n", namespace, "get", "pods", "-l", f"jobset.sigs.k8s.io/jobset-name={job}", "--watch",
               "-o", f'jsonpath={{.metadata.name}}:{{{code}}}{{"\\n"}}']  # fmt: skip

    def codes() -> dict[str, str]:
        endings = (line.split(":") for line in kept.read_text().split())
        return {pod: code for pod, code in endings if code}

    with kept.open("w") as output, subprocess.Popen(command, stdout=output) as watch:
        try:
            wait_for(kept.read_text, "the watch to begin", 30)
            yield codes
        finally:
            watch.terminate()
