"""Trainings that are refused before anything is made, and in which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm.storage import open_objects
from tests.cases.cluster import apply, kubectl
from tests.cluster.training.case import ON_THE_POOL, Case


def test_a_pool_that_is_not_there_is_refused_with_those_that_are(case: Case, tmp_path: Path):
    done = case.run_here(tmp_path, "training.pool=gpus")
    assert done.returncode == 2
    assert re.search(r"error: .*gpus(.|\n)*brief, cpu, gpu, nowhere", done.stderr)
    assert case.train_job("workstation") is None


def test_an_expired_token_is_said_so(case: Case, tmp_path: Path):
    done = case.run_here(tmp_path, *ON_THE_POOL, environment=_as_bearer_of("expired", tmp_path))
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
    done = case.run_here(tmp_path, *ON_THE_POOL, f"storage.uri={store}", environment=_as_bearer_of(token, tmp_path))
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
    done = case.run_here(tmp_path, *ON_THE_POOL, *overrides, environment=environment)
    assert done.returncode == 2, done.stderr
    assert re.search(f"error: {words}", done.stderr)
    assert "Traceback" not in done.stderr
    assert case.train_job("workstation") is None


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
