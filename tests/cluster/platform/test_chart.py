"""The platform chart on a cluster: installed, tested, upgraded, rolled back, removed; and what its pools give a pod."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.cases.cluster import (
    CHARTS,
    S3_SECRET,
    Json,
    apply,
    everything,
    fresh_namespace,
    helm,
    kubectl,
    objects,
    pod_log,
    wait_for,
)
from tests.cases.helm import documents

CHART = CHARTS / "gristmill-platform"


Done = subprocess.CompletedProcess[str]


class Platform:
    """A namespace under `restricted` with the keys of S3, and the chart for it."""

    def __init__(self, namespace: str, image: str) -> None:
        self.namespace, self.image = namespace, image

    def run(self, verb: str, *arguments: str | Path, release: str = "gristmill", check: bool = True) -> Done:
        """One command of helm."""
        chart = [str(CHART), *self.of_image()]
        given = chart if verb in ("install", "upgrade", "template") else []
        return helm(verb, release, *given, "--namespace", self.namespace, *map(str, arguments), check=check)

    def of_image(self) -> list[str]:
        """Arguments that name the image."""
        repository, _, digest = self.image.partition("@")
        return ["--set", f"image.repository={repository},image.digest={digest}"]

    def helm(self, verb: str, *arguments: str | Path, release: str = "gristmill") -> str:
        """What helm prints when it does what it is told."""
        return self.run(verb, *arguments, release=release).stdout

    def refusal(self, verb: str, *arguments: str | Path) -> str:
        """What helm says when it must not do what it is told."""
        done = self.run(verb, *arguments, check=False)
        assert done.returncode != 0, f"helm {verb} should have failed"
        return done.stdout + done.stderr


@pytest.fixture
def platform(images: dict[str, str], pod_endpoint: str) -> Iterator[Platform]:
    with fresh_namespace("gristmill-platform") as namespace:
        yield Platform(namespace, images["train"])


@pytest.fixture
def bucket(pod_endpoint: str) -> Iterator[str]:
    """A bucket in which nothing may be left."""
    client, name = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]), f"platform-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=name)
    yield name
    client.delete_bucket(Bucket=name)


@pytest.mark.parametrize("values", ["", "ci/gpu-values.yaml", "ci/full-values.yaml"])
def test_the_api_server_takes_every_manifest(values, platform):
    given = ["--values", CHART / values] if values else []
    rendered = documents(platform.helm("template", "--set", "verifySecrets=false", *given))
    # Pods are refused where their account is not yet there, and where a class of the cluster's is not.
    apply(platform.namespace, *(item for item in rendered if item["kind"] == "ServiceAccount"))
    everything = yaml.safe_dump_all([*rendered, *pods_of_pools(rendered)])
    kubectl("-n", platform.namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=everything)


def pods_of_pools(rendered: list[Json]) -> Iterator[Json]:
    """The pod of each pool as a pod: the API server does not look into the one within a TrainingRuntime."""
    for item in rendered:
        if item["kind"] == "TrainingRuntime":
            (job,) = item["spec"]["template"]["spec"]["replicatedJobs"]
            classes = ("priorityClassName", "runtimeClassName")
            spec = {key: of for key, of in job["template"]["spec"]["template"]["spec"].items() if key not in classes}
            name = f"pod-of-{item['metadata']['name']}"
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_helm_test_passes_with_accounts_and_bucket_and_uninstall_leaves_nothing(platform, bucket, pod_endpoint):
    before, s3 = everything(platform.namespace), f"s3.endpoint={pod_endpoint},s3.bucket={bucket}"
    platform.helm("install", "--set", s3)
    tested = platform.helm("test", "--logs")
    assert tested.count("rights are as they should be") == 2
    assert f"wrote, read and deleted s3://{bucket}/" in tested
    platform.helm("upgrade", "--set", f"{s3},pools.second.maxRestarts=0")
    assert "trainingruntime.trainer.kubeflow.org/second" in everything(platform.namespace)
    platform.helm("rollback", "1")
    assert "trainingruntime.trainer.kubeflow.org/second" not in everything(platform.namespace)
    platform.helm("uninstall", "--wait")
    assert everything(platform.namespace) == before


def test_a_release_name_of_53_characters_works(platform, pod_endpoint):
    before, release = everything(platform.namespace), "r" * 53
    platform.helm("install", "--dry-run=server", release=release)
    assert everything(platform.namespace) == before
    platform.helm("install", "--set", f"s3.endpoint={pod_endpoint}", release=release)
    assert f"serviceaccount/{release}-pipeline" in everything(platform.namespace)
    platform.helm("test", release=release)
    platform.helm("uninstall", "--wait", release=release)
    assert everything(platform.namespace) == before


def test_a_failing_helm_test_says_what_is_wrong_with_the_bucket(platform, bucket, pod_endpoint):
    platform.helm("install", "--set", f"s3.endpoint={pod_endpoint},s3.bucket=no-{bucket}")
    said = platform.refusal("test", "--logs", "--filter", "name=gristmill-test-s3")
    assert f"error: cannot write s3://no-{bucket}/" in said
    assert "See s3.endpoint, s3.region, s3.bucket and s3.existingSecret." in said


def test_a_secret_that_is_not_there_or_lacks_a_key_is_refused_and_nothing_is_made(platform):
    kubectl("-n", platform.namespace, "delete", "secret", S3_SECRET)
    before = everything(platform.namespace)
    assert f"namespace {platform.namespace} has no such Secret" in platform.refusal("install")
    keys = {"AWS_ACCESS_KEY_ID": "someone"}
    apply(
        platform.namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": S3_SECRET}, "stringData": keys}
    )
    assert "lacks AWS_SECRET_ACCESS_KEY" in platform.refusal("install")
    assert everything(platform.namespace) - before == {f"secret/{S3_SECRET}"}


def test_other_rules_of_restart_are_refused_before_anything_changes_and_taken_by_a_new_pool(platform):
    platform.helm("install")
    command = f"kubectl --namespace {platform.namespace} delete trainingruntime cpu"
    assert command in platform.refusal("upgrade", "--set", "pools.cpu.maxRestarts=7")
    platform.helm("upgrade", "--set", "pools.cpu.deadlineSeconds=3600")
    kubectl(*command.split()[1:])
    platform.helm("upgrade", "--set", "pools.cpu.maxRestarts=7")
    (pool,) = objects(platform.namespace, "trainingruntimes")
    assert pool["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] == 7


def test_a_release_of_a_chart_before_a_new_key_upgrades_and_keeps_what_its_user_set(platform, tmp_path):
    earlier = tmp_path / CHART.name
    shutil.copytree(CHART, earlier)
    values = yaml.safe_load((earlier / "values.yaml").read_text())
    del values["limitRange"], values["networkPolicy"]["s3Cidrs"], values["poolDefaults"]["deadlineSeconds"]
    (earlier / "values.yaml").write_text(yaml.safe_dump(values))
    mine = ("--set", "commonLabels.team=mine")
    helm("install", "gristmill", str(earlier), *platform.of_image(), "--namespace", platform.namespace, *mine)
    for keeping in ("--reuse-values", "--reset-then-reuse-values"):
        platform.helm("upgrade", keeping)
        (pool,) = objects(platform.namespace, "trainingruntimes")
        assert pool["metadata"]["labels"]["team"] == "mine"
        (job,) = pool["spec"]["template"]["spec"]["replicatedJobs"]
        assert job["template"]["spec"]["activeDeadlineSeconds"] == 604800


SURROUNDINGS = """
import json, os
seen = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "GRISTMILL_C", "PET_"))}
for folder in ("/tmp", "/cache", "/dev/shm"):
    open(folder + "/x", "w").close()
open("/dev/termination-log", "w").write("last words")
for forbidden in ("/x", "/opt/x", "/etc/x"):
    try:
        open(forbidden, "w")
        seen["wrote"] = forbidden
    except OSError:
        pass
shared = os.statvfs("/dev/shm")
seen["shared"] = shared.f_blocks * shared.f_frsize
seen["user"] = os.getuid()
seen["token"] = os.path.exists("/var/run/secrets/kubernetes.io")
print(json.dumps(seen))
"""
# JobSet numbers the restarts on the pods. A trainer need not know; this script does.
RESTARTS = {"name": "RESTARTS", "valueFrom": {"fieldRef": {
    "fieldPath": "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"}}}  # fmt: skip
UNTIL_TOLD = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); time.sleep(300)"
STOPPED_ONCE = "import os; raise SystemExit(0 if os.environ['RESTARTS'] == '1' else 75)"
A_FINAL_ERROR = "raise SystemExit(2)"


def train_job(name: str, image: str, nodes: int, script: str) -> Json:
    trainer = {"image": image, "command": ["python", "-c", script], "numNodes": nodes, "numProcPerNode": 2}
    runtime = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "cpu"}
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": name},
            "spec": {"runtimeRef": runtime, "trainer": trainer}}  # fmt: skip


@pytest.fixture
def pool(platform: Platform, pod_endpoint: str, tmp_path: Path) -> Platform:
    """A platform whose pool is small enough for a few jobs at once."""
    requests = {"cpu": 0.1, "memory": "65536Ki"}  # not as Kubernetes writes them, which must not matter
    small = {"resources": {"requests": requests}, "sharedMemory": "65536Ki", "env": [RESTARTS]}
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"s3": {"endpoint": pod_endpoint}, "pools": {"cpu": small}}))
    platform.helm("install", "--values", values)
    return platform


def test_a_pool_gives_a_training_its_surroundings_and_tells_a_final_error_from_a_stop(pool, pod_endpoint):
    jobs = {"surroundings": ("Complete", 2, SURROUNDINGS), "final": ("Failed", 1, A_FINAL_ERROR),
            "stopped": ("Complete", 1, STOPPED_ONCE)}  # fmt: skip
    apply(pool.namespace, *(train_job(name, pool.image, *what) for name, (_, *what) in jobs.items()))
    for name, (end, *_) in jobs.items():
        kubectl("-n", pool.namespace, "wait", f"trainjob/{name}", f"--for=condition={end}", "--timeout=120s")
    restarts = {
        item["metadata"]["name"]: item["status"].get("restarts", 0) for item in objects(pool.namespace, "jobsets")
    }
    assert restarts == {"surroundings": 0, "final": 0, "stopped": 1}
    pods = objects(pool.namespace, "pods", "-l", "jobset.sigs.k8s.io/jobset-name=surroundings")
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["serviceAccountName"] == "gristmill-trainer"
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "last words"
        check_surroundings(json.loads(pod_log(pool.namespace, pod["metadata"]["name"])), pod_endpoint)


def check_surroundings(seen: dict[str, Any], pod_endpoint: str) -> None:
    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert seen.items() >= {**keys, "AWS_ENDPOINT_URL": pod_endpoint, "AWS_REGION": "us-east-1"}.items()
    assert seen.items() >= {"GRISTMILL_CPUS": "1", "GRISTMILL_CACHE": "/cache"}.items()
    assert seen.items() >= {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "2"}.items()
    assert seen.items() >= {"user": 1000, "token": False, "shared": 64 << 20}.items()
    assert "wrote" not in seen


def test_a_pool_in_use_can_be_upgraded_without_a_change_to_its_trainings_and_goes_with_the_last_of_them(pool, tmp_path):
    def pods() -> list[tuple[str, str]]:
        found = objects(pool.namespace, "pods", "-l", "jobset.sigs.k8s.io/jobset-name=going")
        return [(pod["metadata"]["uid"], pod["status"]["phase"]) for pod in found]

    def pools() -> list[str]:
        return [runtime["metadata"]["name"] for runtime in objects(pool.namespace, "trainingruntimes")]

    apply(pool.namespace, train_job("going", pool.image, 1, UNTIL_TOLD))
    wait_for(lambda: [phase for _, phase in pods()] == ["Running"], "the training runs")
    before = pods()
    settings = "pools.cpu.resources.requests.cpu=200m,pools.cpu.terminationGracePeriodSeconds=30"
    pool.helm("upgrade", "--values", tmp_path / "values.yaml", "--set", settings)
    (upgraded,) = objects(pool.namespace, "trainingruntimes")
    (job,) = upgraded["spec"]["template"]["spec"]["replicatedJobs"]
    assert job["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    pool.helm("uninstall")
    assert (pods(), pools()) == (before, ["cpu"])
    kubectl("-n", pool.namespace, "delete", "trainjob", "going")
    wait_for(lambda: not pods() and not pools(), "the training and its pool are gone")
