"""A training on a real cluster: two pods over gloo, checkpoints in S3, followed, lost, cancelled, failed.

The figures that the issue of a cluster's cost asks for are printed at the end of the module's tests (`-s`, or the
summary of `make cluster-test`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm.config import RunConfig, compose
from llm.kubernetes.trainjob import TrainJobSpec, manifest
from llm.runs.folder import RunFolder
from llm.steps import open_context, run_step
from llm.storage import Manifest, open_objects
from llm.training.checkpoint import newest_checkpoint
from llm.training.train import training_recipe
from tests.cluster.launcher import start_launcher
from tests.cluster_case import CHARTS, apply, helm, kubectl, objects, phase, pod_log, pods_of, wait_for

SMALL = [
    f"data.path={sysconfig.get_path('stdlib')}/[a-e]*.py", "data.domain=code", "tokenizer.vocab_size=512",
    "model.hidden_size=128", "model.intermediate_size=256", "model.num_hidden_layers=2",
    "model.num_attention_heads=4", "model.num_key_value_heads=2", "model.max_position_embeddings=128",
    "training.sequence_length=128", "training.global_batch_tokens=4096", "training.micro_batch_size=4",
    "training.max_steps=40", "training.checkpoint_every_steps=10", "training.validate_every_steps=20",
    "tracking.uri=http://127.0.0.1:9", "tracking.timeout_seconds=1", "cluster.unschedulable_after_seconds=10",
]  # fmt: skip
ON_THE_POOL = ["training.pool=cpu", "training.nodes=2", "training.processes=1"]
ON_ONE_NODE = ["training.nodes=1", "training.processes=1"]
POOLS = """
pools:
  cpu: {resources: {requests: {cpu: 100m, memory: 512Mi}}, terminationGracePeriodSeconds: 60, maxRestarts: 5}
  brief: {resources: {requests: {cpu: 100m, memory: 512Mi}}, terminationGracePeriodSeconds: 20, deadlineSeconds: 60}
  gpu: {resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {nvidia.com/gpu: 1}}}
  nowhere: {resources: {requests: {cpu: 100m, memory: 1Gi}}, nodeSelector: {pool: nowhere}}
"""

Given = Mapping[str, Manifest]


class Case:
    """A namespace with the platform chart, and what the steps before the training made."""

    def __init__(self, namespace: str, store_uri: str, image: str, folder: Path) -> None:
        self.namespace, self.store_uri, self.image, self.folder = namespace, store_uri, image, folder
        self.launchers = 0

    def config(self, run: str, *overrides: str, store: str = "") -> RunConfig:
        uri = self.store_uri + store
        places = [f"storage.uri={uri}", f"run.folder={uri}/runs", f"run.name={run}"]
        return compose([*SMALL, *places, f"cluster.namespace={self.namespace}", *overrides])

    def given(self, config: RunConfig) -> Given:
        """Shards and vocabulary in that configuration's store."""
        context = open_context(config)
        made: dict[str, Manifest] = {}
        for step in ("ingest", "tokenizer", "tokenize"):
            made[step] = run_step(step, context, made)
        return made

    def launch(self, config: RunConfig, retries: int | None = 0) -> str:
        """Start the training component as a pod of a Job, or as a pod alone (None); returns the name of either."""
        self.launchers += 1
        name = f"launcher-{self.launchers}"
        start_launcher(self.namespace, name, config, self.given(config), self.image, self.folder, retries)
        return name

    def log(self, launcher: str) -> str:
        """What the launcher's newest pod printed."""
        pods = objects(self.namespace, "pods", "-l", f"launcher={launcher}")
        newest = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)
        return "" if newest is None else pod_log(self.namespace, newest["metadata"]["name"])

    def end(self, launcher: str) -> str:
        """Wait for the end of the launcher's Job: Complete or Failed."""

        def condition() -> str | None:
            job = objects(self.namespace, "jobs", "--field-selector", f"metadata.name={launcher}")[0]
            found = [one["type"] for one in job.get("status", {}).get("conditions", ()) if one["status"] == "True"]
            return next((one for one in found if one in ("Complete", "Failed")), None)

        ended: str = wait_for(condition, f"the end of {launcher}: {self.log(launcher)}", 240, every=2)
        return ended

    def train_job(self, run: str) -> dict[str, Any] | None:
        found = objects(self.namespace, "trainjobs", "-l", f"gristmill.io/run={run}")
        return found[0] if found else None

    def checkpoint(self, config: RunConfig, given: Given) -> Manifest | None:
        """The finished checkpoint, if it is in the store."""
        recipe = training_recipe(config.model, config.training, given["tokenize"], given["tokenizer"])
        return open_context(config).store.find(recipe)

    def vault(self, config: RunConfig, given: Given) -> Any:
        recipe = training_recipe(config.model, config.training, given["tokenize"], given["tokenizer"])
        return open_context(config).store.working_objects(recipe)

    def events(self, config: RunConfig) -> str:
        """All events of the run in the store."""
        home = open_objects(f"{config.run.folder}/{config.run.name}")
        return b"".join(home.read(name) or b"" for name in home.names("events/")).decode()


@pytest.fixture(scope="module")
def case(
    namespace: str, store_uri: str, images: dict[str, str], pod_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    folder = tmp_path_factory.mktemp("training")
    (folder / "values.yaml").write_text(POOLS)
    os.environ["GRISTMILL_CACHE"] = str(folder / "cache")
    helm("install", "gristmill", str(CHARTS / "gristmill-platform"), "-n", namespace, "-f", str(folder / "values.yaml"),
         "--set", f"s3.endpoint={pod_endpoint}")  # fmt: skip
    repository, _, digest = images["train"].partition("@")
    assert digest
    return Case(namespace, store_uri, f"{repository}@{digest}", folder)


@pytest.fixture(scope="module")
def undisturbed(case: Case, record_figure: Callable[[str, str], None]) -> Manifest:
    """A whole training on the pool; the first to run, and what others are compared with."""
    config = case.config("undisturbed", *ON_THE_POOL)
    given = case.given(config)
    launcher = case.launch(config)
    wait_for(lambda: "loss" in case.log(launcher), "the step's log shows the training while it goes on", 120)
    job = wait_for(lambda: case.train_job("undisturbed"), "the TrainJob")
    states = {one["type"] for one in job.get("status", {}).get("conditions", ()) if one["status"] == "True"}
    assert "Complete" not in states, "the log came only after the end"
    assert len(pods_of(case.namespace, job["metadata"]["name"])) == 2
    assert case.end(launcher) == "Complete", case.log(launcher)
    done = case.checkpoint(config, given)
    assert done is not None
    assert done.counts["steps"] == 40
    first = re.search(r'"kind": "train_started".*?"seconds": ([0-9.]+)', case.events(config))
    assert first is not None
    record_figure("seconds from TrainJob to first step (target 25)", first[1])
    assert float(first[1]) <= 25
    return done


def test_two_pods_train_together_and_the_log_of_the_step_shows_it_live(case: Case, undisturbed: Manifest):
    job = case.train_job("undisturbed")
    assert job is not None
    assert [one["type"] for one in job["status"]["conditions"] if one["status"] == "True"] == ["Complete"]


def test_two_ranks_here_train_the_same_weights(case: Case, undisturbed: Manifest):
    config = case.config("here", "training.processes=2", store="-here")
    context = open_context(config)
    here = run_step("train", context, case.given(config))
    assert _weights(here) == _weights(undisturbed)


def test_a_pod_that_is_deleted_in_the_middle_comes_back_and_the_weights_are_those_of_an_undisturbed_training(
    case: Case, undisturbed: Manifest
):
    config = case.config("disturbed", *ON_THE_POOL, store="-disturbed")
    given = case.given(config)
    launcher = case.launch(config)
    _wait_for_step(case, config, 12)
    job = case.train_job("disturbed")
    assert job is not None
    victim = pods_of(case.namespace, job["metadata"]["name"])[1]["metadata"]["name"]
    kubectl("-n", case.namespace, "delete", "pod", victim, "--wait=false")
    assert case.end(launcher) == "Complete", case.log(launcher)
    done = case.checkpoint(config, given)
    assert done is not None
    assert _weights(done) == _weights(undisturbed)
    assert '"kind": "train_resumed"' in case.events(config)


def test_a_launcher_that_is_deleted_is_replaced_and_its_successor_adopts_the_same_train_job(
    case: Case, undisturbed: Manifest
):
    config = case.config("adopted", *ON_THE_POOL, store="-adopted")
    given = case.given(config)
    launcher = case.launch(config, retries=1)
    _wait_for_step(case, config, 5)
    before = case.train_job("adopted")
    assert before is not None
    kubectl("-n", case.namespace, "delete", "pod", "-l", f"job-name={launcher}", "--wait=true")
    assert case.end(launcher) == "Complete", case.log(launcher)
    after = case.train_job("adopted")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "adopt" in case.log(launcher)
    done = case.checkpoint(config, given)
    assert done is not None
    assert _weights(done) == _weights(undisturbed)


def test_cancel_leaves_a_checkpoint_and_nothing_else(
    case: Case, tmp_path: Path, record_figure: Callable[[str, str], None]
):
    config = case.config("cancelled", *ON_THE_POOL, "training.checkpoint_every_steps=1000", store="-cancelled")
    given = case.given(config)
    launcher = case.launch(config)
    _wait_for_step(case, config, 5)
    job = case.train_job("cancelled")
    assert job is not None
    name = job["metadata"]["name"]
    began = time.monotonic()
    pods = {pod["metadata"]["name"] for pod in pods_of(case.namespace, name)}
    assert len(pods) == 2
    with _exit_codes(case.namespace, name, tmp_path / "endings") as exit_codes:
        done = _gristmill("cancel", "cancelled", f"cluster.namespace={case.namespace}")
        assert done.returncode == 0, done.stderr
        record_figure("seconds from cancel until all is gone", f"{time.monotonic() - began:.0f}")
    endings = exit_codes()
    assert {pod: endings.get(pod) for pod in pods} == dict.fromkeys(pods, "75"), "killed at the end of its grace"
    assert case.train_job("cancelled") is None
    assert not pods_of(case.namespace, name)
    assert not objects(case.namespace, "jobsets", "--field-selector", f"metadata.name={name}")
    newest, _ = newest_checkpoint(case.vault(config, given))
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
        done = _gristmill("cancel", "deaf", f"cluster.namespace={case.namespace}")
        assert done.returncode == 0, done.stderr
    assert exit_codes().get(pod) == str(128 + signal.SIGTERM), "it was killed at the end of its grace"


def test_a_bad_configuration_fails_the_step_with_the_trainers_own_words(case: Case):
    config = case.config("diverging", *ON_THE_POOL, "training.lr=1e30", store="-diverging")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    assert re.search(r"error: .*the training diverged(.|\n)*Lower training.lr", case.log(launcher))


@pytest.mark.parametrize(
    ("pool", "short"), [("gpu", r"Insufficient nvidia.com/gpu"), ("nowhere", r"node affinity/selector")]
)
def test_pods_that_no_node_has_room_for_name_what_is_short(case: Case, pool: str, short: str):
    pods = [f"training.pool={pool}", "training.nodes=2", "training.processes=1"]
    config = case.config(f"short-{pool}", *pods, store="-short")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    assert re.search(rf"error: (.|\n)*{short}", case.log(launcher))
    assert re.search(rf"error: (.|\n)*{pool}", case.log(launcher))
    wait_for(lambda: case.train_job(f"short-{pool}") is None, "the TrainJob to be gone")


def test_a_pool_that_is_not_there_is_refused_with_those_that_are(case: Case, tmp_path: Path):
    done = _run(case, tmp_path, "training.pool=gpus")
    assert done.returncode == 2
    assert re.search(r"error: .*gpus(.|\n)*brief, cpu, gpu, nowhere", done.stderr)
    assert case.train_job("refused") is None


def test_two_runs_with_one_name_are_not_mixed(case: Case):
    config = case.config("twice", *ON_THE_POOL, "training.max_steps=2000", store="-twice")
    launcher = case.launch(config)
    _wait_for_step(case, config, 1)
    other = case.launch(case.config("twice", *ON_THE_POOL, "training.max_steps=2001", store="-twice"))
    assert case.end(other) == "Failed"
    assert re.search(r"error: .*twice", case.log(other))
    job = case.train_job("twice")
    assert job is not None, "the first goes on"
    assert _gristmill("cancel", "twice", f"cluster.namespace={case.namespace}").returncode == 0
    assert case.end(launcher) == "Failed"


def test_an_image_that_is_not_on_the_nodes_is_named(case: Case, tmp_path: Path):
    wrong = f"gristmill/train@sha256:{'0' * 64}"
    done = _run(case, tmp_path, *ON_THE_POOL, environment={"GRISTMILL_TRAIN_IMAGE": wrong})
    assert done.returncode == 2
    assert re.search(rf"error: (.|\n)*{wrong}", done.stderr)
    wait_for(lambda: case.train_job("refused") is None, "the TrainJob to be gone")


def test_an_expired_token_is_said_so(case: Case, tmp_path: Path):
    done = _run(case, tmp_path, *ON_THE_POOL, environment=_as_bearer_of("expired", tmp_path))
    assert done.returncode == 2
    assert re.search(r"error: .*401", done.stderr)


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ("gristmill-data", r"403 Forbidden\n.*/gristmill-data may not get trainingruntimes(.|\n)*rbac\.train=true"),
        ("reader", r"may not create trainjobs\.trainer\.kubeflow\.org in namespace {}\n(.|\n)*Role gristmill-train of"),
    ],
    ids=["no rights", "may see pools"],
)
def test_an_account_without_rights_is_refused_before_anything_is_made(
    case: Case, tmp_path: Path, account: str, words: str
):
    apply(case.namespace, *_reader_of_pools(case.namespace))
    token = kubectl("-n", case.namespace, "create", "token", account).strip()
    store = f"{case.store_uri}-{account}"
    done = _run(case, tmp_path, *ON_THE_POOL, f"storage.uri={store}", environment=_as_bearer_of(token, tmp_path))
    assert done.returncode == 2, done.stderr
    assert re.search(f"error: .*{words.format(case.namespace)}", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert open_objects(store).names() == [], "a step has run"
    assert case.train_job("refused") is None


@pytest.mark.parametrize(
    ("overrides", "environment", "words"),
    [
        (["storage.uri=s3://gristmill-nowhere/store"], {}, "S3 bucket gristmill-nowhere .*does not exist"),
        ([], {"AWS_ACCESS_KEY_ID": "wrong"}, "S3 bucket .* refused: 40[34]"),
        ([], {"AWS_SECRET_ACCESS_KEY": "wrong"}, "S3 bucket .* refused: 403 SignatureDoesNotMatch"),
        ([], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "S3 bucket .* does not answer"),
    ],
    ids=["no bucket", "wrong key", "wrong secret", "no endpoint"],
)
def test_a_store_that_cannot_be_used_is_named_before_anything_is_made(
    case: Case, tmp_path: Path, overrides: list[str], environment: dict[str, str], words: str
):
    done = _run(case, tmp_path, *ON_THE_POOL, *overrides, environment=environment)
    assert done.returncode == 2, done.stderr
    assert re.search(f"error: {words}", done.stderr)
    assert "Traceback" not in done.stderr
    assert case.train_job("refused") is None


def test_a_workstation_trains_on_the_pool_and_its_ctrl_c_takes_the_train_job_along(case: Case, tmp_path: Path):
    command = [*_COMMAND, "run", "pretrain", *_refused(case, tmp_path, *ON_THE_POOL, "training.max_steps=3000")]
    environment = {**os.environ, "GRISTMILL_TRAIN_IMAGE": case.image}
    errors = tmp_path / "stderr"
    with errors.open("w") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
        events = RunFolder(tmp_path / "runs" / "refused").events
        wait_for(lambda: events.is_file() and '"train_step"' in events.read_text(), "a step", 180)
        assert case.train_job("refused") is not None
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 75, errors.read_text()
    wait_for(lambda: case.train_job("refused") is None, "the TrainJob to be gone")


def test_a_launcher_that_is_killed_a_second_after_its_sigterm_has_deleted_its_train_job(case: Case):
    """As Argo ends a step at Terminate. Its pod stays, so it is not the pod's end that takes the TrainJob along."""
    launcher = _launched_alone(case, "terminated", "training.max_steps=3000")
    _kill(case, launcher, "kill -TERM -1; sleep 1; kill -KILL -1")
    wait_for(lambda: case.train_job("terminated") is None, "the TrainJob to be gone", 90)
    wait_for(lambda: phase(case.namespace, launcher) == "Failed", "the launcher's end", 30)


def test_a_train_job_whose_launcher_could_not_delete_it_goes_with_the_launchers_pod(case: Case):
    launcher = _launched_alone(case, "orphaned", "training.max_steps=3001")
    _kill(case, launcher, "kill -KILL -1")
    wait_for(lambda: phase(case.namespace, launcher) == "Failed", "the launcher's end", 30)
    job = case.train_job("orphaned")
    assert job is not None
    assert "deletionTimestamp" not in job["metadata"], "it goes on while its owner is there"
    assert [(owner["kind"], owner["name"]) for owner in job["metadata"]["ownerReferences"]] == [("Pod", launcher)]
    kubectl("-n", case.namespace, "delete", "pod", launcher, "--grace-period=0", "--force")
    wait_for(lambda: case.train_job("orphaned") is None, "the garbage collector", 90)
    wait_for(lambda: not pods_of(case.namespace, job["metadata"]["name"]), "its pods to be gone", 90)


def test_a_suspended_training_is_queued_and_goes_on_when_it_is_resumed(case: Case):
    """As a queue does it. Trainer (2.0 to 2.3) takes a change of spec.suspend at any time, and JobSet follows."""
    config = case.config("queued", "training.pool=cpu", *ON_ONE_NODE, "training.max_steps=10", store="-stops")
    given = case.given(config)
    launcher = case.launch(config)
    name = wait_for(lambda: case.train_job("queued"), "the TrainJob")["metadata"]["name"]
    _suspend(case, name, True)
    wait_for(lambda: "queued: the TrainJob is suspended" in case.log(launcher), "the launcher to say so", 60)
    wait_for(lambda: not pods_of(case.namespace, name), "its pods to be gone", 90)
    _suspend(case, name, False)
    assert case.end(launcher) == "Complete", case.log(launcher)
    done = case.checkpoint(config, given)
    assert done is not None
    assert done.counts["steps"] == 10


def test_a_training_that_outlasts_the_deadline_of_its_pool_fails_in_those_words(case: Case):
    deadline = "/spec/template/spec/replicatedJobs/0/template/spec/activeDeadlineSeconds"
    shorter = [{"op": "replace", "path": deadline, "value": 15}]  # the chart gives no less than a minute
    kubectl("-n", case.namespace, "patch", "trainingruntime", "brief", "--type=json", "-p", json.dumps(shorter))
    config = case.config("late", "training.pool=brief", *ON_ONE_NODE, "training.max_steps=10000", store="-stops")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    words = r"error: (.|\n)*The deadline of pool brief has passed \(its deadlineSeconds\)"
    assert re.search(words, case.log(launcher)), case.log(launcher)


def test_pods_are_nearly_as_fast_as_two_ranks_here(case: Case, record_figure: Callable[[str, str], None]):
    """Tokens a second, the pods' against two ranks on this machine: alternating, the medians of three."""
    ratios, pods, here = [], [], []
    for attempt in range(3):
        far = case.config(f"speed-{attempt}", *ON_THE_POOL, "training.max_steps=40", store=f"-speed-{attempt}")
        launcher = case.launch(far)
        assert case.end(launcher) == "Complete", case.log(launcher)
        pods.append(_speed(case.events(far)))
        near = case.config(f"near-{attempt}", "training.processes=2", "training.max_steps=40", store=f"-near-{attempt}")
        context = open_context(near)
        run_step("train", context, case.given(near))
        here.append(_speed(context.folder.events.read_text()))
        ratios.append(pods[-1] / here[-1])
    ratio = statistics.median(ratios)
    record_figure("tokens/s of two pods", f"{statistics.median(pods):,.0f}")
    record_figure("tokens/s of two ranks here", f"{statistics.median(here):,.0f}")
    record_figure("pods against ranks here (target 0.9)", f"{ratio:.2f} ({', '.join(f'{one:.2f}' for one in ratios)})")
    # Not the target: two cores that the control plane uses too vary by a tenth from one training to the next.
    assert ratio > 0.75


_COMMAND = [sys.executable, "-c", "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"]


def _gristmill(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *arguments], capture_output=True, text=True, timeout=300, env={**os.environ, **(environment or {})}
    )


def _refused(case: Case, tmp_path: Path, *overrides: str) -> list[str]:
    return [*SMALL, f"storage.uri={case.store_uri}-refused", f"run.folder={tmp_path / 'runs'}", "run.name=refused",
            f"cluster.namespace={case.namespace}", "tracking.uri=null", *overrides]  # fmt: skip


def _run(
    case: Case, tmp_path: Path, *overrides: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    image = {"GRISTMILL_TRAIN_IMAGE": case.image}
    return _gristmill("run", "pretrain", *_refused(case, tmp_path, *overrides),
                      environment={**image, **(environment or {})})  # fmt: skip


def _as_bearer_of(token: str, folder: Path) -> dict[str, str]:
    """The environment of somebody who has this token and nothing else."""
    kubeconfig = folder / "kubeconfig"
    server = kubectl("config", "view", "--minify", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
        f"clusters: [{{name: x, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}]\n"
        f"users: [{{name: x, user: {{token: '{token}'}}}}]\n"
    )
    return {"KUBECONFIG": str(kubeconfig)}


def _reader_of_pools(namespace: str) -> list[dict[str, Any]]:
    """An account `reader` that may see pools and no more."""
    api, metadata = "rbac.authorization.k8s.io", {"name": "reader"}
    rule = {"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainingruntimes"], "verbs": ["get", "list"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": metadata,
         "roleRef": {"apiGroup": api, "kind": "Role", "name": "reader"},
         "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]},
    ]  # fmt: skip


def _launched_alone(case: Case, run: str, *overrides: str) -> str:
    """A launcher that nothing replaces, and whose training runs; its pod's name."""
    config = case.config(run, "training.pool=cpu", *ON_ONE_NODE, *overrides, store="-stops")
    launcher = case.launch(config, retries=None)

    def runs() -> bool:
        job = case.train_job(run)
        return job is not None and any(
            pod["status"]["phase"] == "Running" for pod in pods_of(case.namespace, job["metadata"]["name"])
        )

    wait_for(runs, "the training to run", 90)
    return launcher


def _kill(case: Case, launcher: str, script: str) -> None:
    """Run this in the launcher's pod, where -1 is all but the first process and this one, which ends with the first."""
    kubectl("-n", case.namespace, "exec", launcher, "--", "sh", "-c", script, check=False)


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


def _weights(checkpoint: Manifest) -> str:
    return next(entry.sha256 for entry in checkpoint.files if entry.path == "model.safetensors")


def _wait_for_step(case: Case, config: RunConfig, step: int) -> None:
    """Until rank 0 has done this step, by the log of its own pod."""

    def reached() -> bool:
        job = case.train_job(str(config.run.name))
        if job is None:
            return False
        log = pod_log(case.namespace, f"job/{job['metadata']['name']}-node-0", "node")
        return any(int(one) >= step for one in re.findall(r'"train_step", "step": (\d+)', log))

    wait_for(reached, f"step {step}", 180, every=0.1)


def _speed(events: str) -> float:
    """Tokens a second over the second half of a training."""
    speeds = [float(one) for one in re.findall(r'"tokens_per_second": ([0-9.]+)', events)]
    return statistics.median(speeds[len(speeds) // 2 :])
