"""How a training on a cluster fails, and in which words: before anything is made, where that can be known."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm.storage import open_objects
from tests.cases.cluster import apply, kubectl, wait_for
from tests.cluster.training.case import ON_THE_POOL, Case, gristmill


def test_a_bad_configuration_fails_the_step_with_the_trainers_own_words(case: Case):
    config = case.config("diverging", *ON_THE_POOL, "training.optimizer.lr=1e30", store="-diverging")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    assert re.search(r"error: .*the training diverged(.|\n)*Lower training.optimizer.lr", case.log(launcher))


@pytest.mark.parametrize(
    ("pool", "short"), [("gpu", r"Insufficient nvidia.com/gpu"), ("nowhere", r"node affinity/selector")]
)
def test_pods_that_no_node_has_room_for_name_what_is_short(case: Case, pool: str, short: str):
    pods = [f"training.pool={pool}", "training.parallel.nodes=2", "training.parallel.processes=1"]
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
    assert case.train_job("workstation") is None


def test_two_runs_with_one_name_are_not_mixed(case: Case):
    config = case.config("twice", *ON_THE_POOL, "training.length.steps=2000", store="-twice")
    launcher = case.launch(config)
    case.wait_for_step("twice", 1)
    other = case.launch(case.config("twice", *ON_THE_POOL, "training.length.steps=2001", store="-twice"))
    assert case.end(other) == "Failed"
    assert re.search(r"error: .*twice", case.log(other))
    job = case.train_job("twice")
    assert job is not None, "the first goes on"
    assert gristmill("cancel", "twice", f"cluster.namespace={case.namespace}").returncode == 0
    assert case.end(launcher) == "Failed"


def test_an_image_that_is_not_on_the_nodes_is_named(case: Case, tmp_path: Path):
    wrong = f"gristmill/train@sha256:{'0' * 64}"
    done = _run(case, tmp_path, *ON_THE_POOL, environment={"GRISTMILL_TRAIN_IMAGE": wrong})
    assert done.returncode == 2
    assert re.search(rf"error: (.|\n)*{wrong}", done.stderr)
    wait_for(lambda: case.train_job("workstation") is None, "the TrainJob to be gone")


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
    assert case.train_job("workstation") is None


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
    assert case.train_job("workstation") is None


def _run(
    case: Case, tmp_path: Path, *overrides: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    image = {"GRISTMILL_TRAIN_IMAGE": case.image}
    return gristmill("run", "pretrain", *case.workstation_arguments(tmp_path, *overrides),
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
