"""Trainings in queues of Kueue: teams in a cohort, borrowing, preemption and its end, and queues that start nothing.

Needs the add-on Kueue, 0.17 or newer, with Kubeflow Trainer 2.2: it skips with its reason where the CRD is not there.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm.config import RunConfig
from llm.storage import Manifest
from tests.cases.cluster import (
    CHARTS,
    apply,
    fresh_namespace,
    helm,
    kubectl,
    objects,
    pods_of,
    restricted_pod,
    wait_for,
)
from tests.cluster.training.case import ON_ONE_NODE, ON_THE_POOL, Case

LABEL = "kueue.x-k8s.io/queue-name"
STEPS = "training.length.steps=30"
Json = dict[str, Any]


@dataclass(frozen=True)
class Teams:
    """Two teams in one cohort. A pod of the pool `cpu` asks for 100m, and each team has that much."""

    case: Case
    other: str
    """Namespace of the second team."""
    mark: str
    """The end of the names of what is the whole cluster's."""

    def urgent(self, name: str) -> None:
        """A job of the second team that takes all of its quota, until it is deleted."""
        container = {"image": self.case.image, "command": ["sleep", "600"],
                     "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}  # fmt: skip
        spec = restricted_pod(container, terminationGracePeriodSeconds=0)
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {LABEL: "team-b"}},
               "spec": {"backoffLimit": 0, "template": {"spec": spec}}}  # fmt: skip
        apply(self.other, job)

    def config(self, run: str, *overrides: str) -> RunConfig:
        return self.case.config(run, *overrides, store=f"-{run}")

    def kinds(self, config: RunConfig) -> list[str]:
        """News of the queue in the run's log, in order, and where the training went on."""
        kinds = re.findall(r'"kind": "(queued|admitted|evicted|train_resumed)"', self.case.events(config))
        return list(kinds)


@pytest.fixture(scope="module")
def teams(kubeconfig: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teams]:
    if not kubectl("get", "crd", "localqueues.kueue.x-k8s.io", "--ignore-not-found"):
        pytest.skip("the cluster has no Kueue (add-on kueue)")
    case: Case = request.getfixturevalue("case")
    with fresh_namespace("gristmill-team-b") as other:
        mark = other.rpartition("-")[2]
        values = tmp_path_factory.mktemp("queues") / "values.yaml"
        values.write_text(yaml.safe_dump(_values(case.namespace, other, mark)))
        helm("install", "queues", str(CHARTS / "gristmill-platform"), "-n", case.namespace, "-f", str(values))
        try:
            yield Teams(case, other, mark)
        finally:
            kubectl("-n", case.namespace, "delete", "trainjobs", "--all", "--wait=false", check=False)
            kubectl("-n", other, "delete", "jobs", "--all", "--wait=false", check=False)
            helm("uninstall", "queues", "-n", case.namespace, "--no-hooks", check=False)


def _values(team_a: str, team_b: str, mark: str) -> Json:
    def queue(cpu: str, cohort: str | None = f"research-{mark}") -> Json:
        quota = {"cpu": {"nominalQuota": cpu}, "memory": {"nominalQuota": "8Gi"}}
        return {"flavors": {f"nodes-{mark}": quota}} | ({"cohort": cohort} if cohort else {})

    names = {"team-a": f"a-{mark}", **dict.fromkeys(("alone", "held", "doomed"), f"alone-{mark}")}
    return {
        "pools": {"cpu": None}, "rbac": {"train": False, "kfp": False},
        "queues": {
            "flavors": {f"nodes-{mark}": {}},
            "clusterQueues": {f"a-{mark}": queue("100m"), f"b-{mark}": queue("100m"),
                              f"alone-{mark}": queue("150m", cohort=None)},
            "localQueues": {team_a: names, team_b: {"team-b": f"b-{mark}"}},
            "priorities": {f"low-{mark}": -5},
        },
    }  # fmt: skip


@dataclass(frozen=True)
class Waiting:
    """Launchers whose trainings their queues do not start; begun together, since they only wait."""

    patient: RunConfig
    first: str
    """Launcher of `patient`, whose queue is stopped."""
    doomed: str
    """Launcher whose queue is stopped, and will be deleted."""
    large: str
    """Launcher whose queue is smaller than its training."""


@pytest.fixture(scope="module")
def waiting(teams: Teams) -> Waiting:
    case = teams.case
    for queue in ("held", "doomed"):
        _stop(case.namespace, queue, "Hold")
    patient = teams.config("patient", "training.pool=cpu", *ON_ONE_NODE, "training.length.steps=10",
                           "training.queue=held")  # fmt: skip
    doomed = teams.config("doomed", "training.pool=cpu", *ON_ONE_NODE, "training.queue=doomed")
    large = teams.config("large", *ON_THE_POOL, "training.queue=alone")
    return Waiting(patient, *map(case.launch, (patient, doomed, large)))


@pytest.fixture(scope="module")
def undisturbed(teams: Teams, waiting: Waiting) -> Manifest:
    """A training that waits in no queue: what the others are compared with."""
    config = teams.config("undisturbed", *ON_THE_POOL, STEPS)
    launcher = teams.case.launch(config)
    assert teams.case.end(launcher) == "Succeeded", teams.case.log(launcher)
    return teams.case.checkpoint(config)


@dataclass(frozen=True)
class Story:
    """A training of two pods that borrowed, was preempted for the other team, waited, and went on."""

    config: RunConfig
    log: str
    kinds: list[str]
    pods_while_it_waited: int
    """Most pods that were seen at once, when there was room for one of the two."""
    end: str


@pytest.fixture(scope="module")
def story(teams: Teams, undisturbed: Manifest, record_figure: Callable[[str, str], None]) -> Story:
    case = teams.case
    config = teams.config(
        "borrower", *ON_THE_POOL, STEPS, "training.checkpoints.every_steps=1000", "training.queue=team-a",
        f"training.priority=low-{teams.mark}",
    )  # fmt: skip
    launcher = case.launch(config)
    case.wait_for_step("borrower", 4)
    began = time.monotonic()
    teams.urgent("urgent")
    wait_for(lambda: "waits again in queue team-a" in case.log(launcher), "the training to wait again", 90)
    record_figure("seconds from the other team's job until the training waits", f"{time.monotonic() - began:.0f}")
    job = case.train_job("borrower")
    assert job is not None
    wait_for(lambda: _runs(teams.other), "the other team's job to run", 60)
    seen = 0
    for _ in range(6):
        seen = max(seen, len(pods_of(case.namespace, job["metadata"]["name"])))
        time.sleep(0.5)
    kubectl("-n", teams.other, "delete", "job", "urgent", "--wait=false")
    end = case.end(launcher)
    return Story(config, case.log(launcher), teams.kinds(config), seen, end)


def _runs(namespace: str) -> bool:
    return any(pod["status"]["phase"] == "Running" for pod in objects(namespace, "pods"))


def test_a_training_that_was_preempted_goes_on_and_ends_with_the_weights_of_an_undisturbed_one(
    teams: Teams, story: Story, undisturbed: Manifest
):
    assert story.end == "Succeeded", story.log
    assert _weights(teams.case.checkpoint(story.config)) == _weights(undisturbed)
    went_on = re.search(r"goes on from the checkpoint at step (\d+)", story.log)
    assert went_on is not None, story.log
    assert 4 <= int(went_on[1]) < 30, "it saved when it was stopped"


def test_what_becomes_of_it_is_said_once_each_and_in_order(teams: Teams, story: Story):
    told = [kind for kind in story.kinds if kind != "queued"]
    assert told == ["admitted", "evicted", "admitted", "train_resumed"], story.kinds
    by = f"preempted in queue team-a by ClusterQueue b-{teams.mark}: Preempted to accommodate a workload"
    assert story.log.count(by) == 1, story.log
    assert "due to reclamation within the cohort" in story.log
    assert story.log.count("waits again in queue team-a") == 1
    # Kueue's own words, of which the first depend on which of the two workloads it looks at first.
    why = "insufficient unused quota for cpu|no longer fits after processing another workload"
    assert re.search(rf"waits again in queue team-a, place 1: .*({why})", story.log), story.log


def test_no_pod_of_a_training_starts_unless_there_is_room_for_all(story: Story):
    assert story.pods_while_it_waited == 0


def test_a_queue_that_is_stopped_is_waited_for_and_a_second_launcher_takes_the_training_over(
    teams: Teams, waiting: Waiting
):
    case, config, first = teams.case, waiting.patient, waiting.first
    wait_for(lambda: "waits in queue held" in case.log(first), "the launcher to say that it waits", 60)
    assert "is stopped (stopPolicy Hold of LocalQueue held)" in case.log(first), "a warning before anything was made"
    before = case.train_job("patient")
    case.kill(first, "kill -KILL -1")
    assert case.end(first) == "Failed"
    second = case.launch(config)
    wait_for(lambda: "queued in held" in case.log(second), "the second launcher to wait", 60)
    assert "adopted" in case.log(second)
    _stop(case.namespace, "held", "None")
    assert case.end(second) == "Succeeded", case.log(second)
    after = case.train_job("patient")
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert f"admitted by queue held (ClusterQueue alone-{teams.mark})" in case.log(second)
    assert case.checkpoint(config).counts["steps"] == 10


def test_a_queue_that_is_deleted_or_too_small_ends_the_wait_in_kueues_words(teams: Teams, waiting: Waiting):
    """A launcher that may not see ClusterQueues learns it from Kueue."""
    case = teams.case
    wait_for(lambda: "waits in queue doomed" in case.log(waiting.doomed), "the launcher to say that it waits", 60)
    kubectl("-n", case.namespace, "delete", "localqueue", "doomed", "--wait=false")
    reasons = {waiting.doomed: r"LocalQueue doomed doesn't exist", waiting.large: r"maximum capacity \(150m\)"}
    for launcher, words in reasons.items():
        assert case.end(launcher) == "Failed"
        log = case.log(launcher)
        assert re.search(rf"error: queue \w+ can never start the training\n.*Kueue says: .*{words}", log), log
    wait_for(lambda: case.train_job("doomed") is None and case.train_job("large") is None, "the TrainJobs to be gone")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([*ON_THE_POOL, "training.queue=alone"],
         r"queue alone of namespace \S+ can never start the training: 2 pods of pool cpu ask for cpu 0\.2, memory 1 GiB"
         r"\n  ClusterQueue alone-\w+, flavor nodes-\w+: at most cpu 0\.15 \(its quota is cpu 0\.15\)"),
        ([*ON_THE_POOL, "training.queue=team-b"], r"no LocalQueue of that name\n  Queues there: alone,.* team-a\."),
        ([*ON_THE_POOL, "training.queue=team-a", "training.priority=nobody"], r"no WorkloadPriorityClass of that name"),
    ],
    ids=["never fits", "of another namespace", "priority"],
)  # fmt: skip
def test_what_can_never_start_is_refused_before_anything_is_made(
    teams: Teams, tmp_path: Path, overrides: list[str], words: str
):
    done: subprocess.CompletedProcess[str] = teams.case.run_here(tmp_path, *overrides)
    assert done.returncode == 2, done.stderr
    assert re.search(rf"error: .*{words}", done.stderr), done.stderr
    assert teams.case.train_job("workstation") is None


def _stop(namespace: str, queue: str, policy: str) -> None:
    patch = json.dumps({"spec": {"stopPolicy": policy}})
    kubectl("-n", namespace, "patch", "localqueue", queue, "--type=merge", "-p", patch)


def _weights(checkpoint: Manifest) -> str:
    return next(entry.sha256 for entry in checkpoint.files if entry.path == "model.safetensors")
