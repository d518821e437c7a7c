"""What each service account of the charts may do, tried with its own token: all else is answered with 403.

Not a list of what somebody thought of, but every resource that the API server has, subresources too, and every verb
that it knows for them. Nothing is changed by it: what would change something is sent as a dry run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.cases.cluster import CHARTS, Json, apply, fresh_namespace, helm, kubectl
from tests.cases.helm import documents

TRAIN = {
    *(("trainer.kubeflow.org", "trainjobs", verb) for verb in ("create", "get", "list", "delete")),
    *(("trainer.kubeflow.org", "trainingruntimes", verb) for verb in ("get", "list")),
    *(("", "pods", verb) for verb in ("get", "list")),
    ("", "pods/log", "get"),
    ("", "events", "list"),
    *(("kueue.x-k8s.io", "localqueues", verb) for verb in ("get", "list")),
    ("kueue.x-k8s.io", "workloads", "list"),
    ("visibility.kueue.x-k8s.io", "localqueues/pendingworkloads", "get"),
}
KFP = {("argoproj.io", "workflowtaskresults", "create"), ("argoproj.io", "workflowtaskresults", "patch")}
ALLOWED = {
    "pipeline": TRAIN | KFP, "train": TRAIN, "data": set(), "trainer": set(),
    "serving": set(), "serving-trial": set(),
}  # fmt: skip
"""By the account's name without `gristmill-`; the last two are those of the chart gristmill-serving."""
FOR_EVERYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
"""What any account may ask about itself (system:basic-user)."""
METHODS = {
    "create": "POST", "get": "GET", "list": "GET", "watch": "GET", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETE",
}  # fmt: skip
NEEDS_A_NAME = {"get", "update", "patch", "delete"}


@dataclass(frozen=True)
class Act:
    """A verb on a kind of resource."""

    group: str
    version: str
    resource: str
    namespaced: bool
    verb: str

    def path(self, namespace: str, name: str) -> str:
        """Where the API server has it; subresources are below an object's name."""
        resource, _, subresource = self.resource.partition("/")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        parts += ["namespaces", namespace] if self.namespaced else []
        parts += [resource, name if subresource or self.verb in NEEDS_A_NAME else "", subresource]
        return "/" + "/".join(part for part in parts if part)


@pytest.fixture(scope="module")
def acts(kubeconfig: str) -> list[Act]:
    """All that the API server knows."""

    def raw(path: str) -> dict:
        return json.loads(kubectl("get", "--raw", path))

    versions = ["/api/v1"]
    versions += [f"/apis/{group['preferredVersion']['groupVersion']}" for group in raw("/apis")["groups"]]
    found = []
    for path in versions:
        *group, version = path.split("/")[2:]
        for resource in raw(path)["resources"]:
            # get on a subresource by POST (exec, proxy) is "create" to RBAC; discovery lists both.
            found += [
                Act("".join(group), version, resource["name"], resource["namespaced"], verb)
                for verb in resource["verbs"]
                if verb in METHODS and resource["name"] not in FOR_EVERYBODY
            ]
    return found


@pytest.fixture(scope="module")
def place(kubeconfig: str) -> Iterator[str]:
    """A namespace with the platform, which needs no image and no key for this, and the accounts of a served model."""
    with fresh_namespace("gristmill-accounts") as namespace:
        helm("install", "gristmill", str(CHARTS / "gristmill-platform"), "-n", namespace, "--set", "s3.existingSecret=")
        apply(namespace, *accounts_of_serving(namespace))
        yield namespace


def accounts_of_serving(namespace: str) -> list[Json]:
    """The accounts of a release `gristmill-serving` and what gives them rights; nothing that would start a pod."""
    annotated = "serviceAccount.annotations.example\\.com/role=reader"  # only then the trial has an account of its own
    chart = str(CHARTS / "gristmill-serving")
    rendered = helm("template", "gristmill-serving", chart, "-n", namespace, "--set", annotated).stdout
    found = [
        each for each in documents(rendered)
        if each["kind"] == "ServiceAccount" or each["apiVersion"].startswith("rbac.authorization.k8s.io/")
    ]  # fmt: skip
    assert {each["metadata"]["name"] for each in found} >= {"gristmill-serving", "gristmill-serving-trial"}
    return found


def connected(kubeconfig: str, place: str, account: str) -> client.ApiClient:
    """A client that has the account's token and nothing else."""
    with open(kubeconfig) as file:
        settings = yaml.safe_load(file)
    token = kubectl("-n", place, "create", "token", f"gristmill-{account}").strip()
    settings["users"] = [{"name": user["name"], "user": {"token": token}} for user in settings["users"]]
    return config.new_client_from_config_dict(settings)


def status(api: client.ApiClient, act: Act, namespace: str, name: str = "any") -> int:
    """What the API server answers."""
    query = {"list": [("limit", "1")], "watch": [("watch", "true"), ("timeoutSeconds", "1")], "get": []}
    body = {} if act.verb in ("create", "update", "patch") else None
    kind = "application/merge-patch+json" if act.verb == "patch" else "application/json"
    try:
        return api.call_api(
            act.path(namespace, name),
            METHODS[act.verb],
            query_params=query.get(act.verb, [("dryRun", "All")]),
            header_params={"Content-Type": kind, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=30,
        )[1]
    except ApiException as error:
        return error.status


def test_every_account_may_do_what_its_role_says_and_gets_403_for_everything_else(kubeconfig, place, acts):
    refused = 0
    known = {act.group for act in acts}
    for account, allowed in ALLOWED.items():
        with connected(kubeconfig, place, account) as api:
            for act in acts:
                answer = status(api, act, place)
                if (act.group, act.resource, act.verb) in allowed:
                    assert answer != 403, f"{account} may not {act.verb} {act.resource}"
                else:
                    assert answer == 403, f"{account} got {answer} for {act.verb} {act.resource}.{act.group}"
                    refused += 1
    assert refused > 1000
    assert {"", "batch", "rbac.authorization.k8s.io", "trainer.kubeflow.org"} <= known


def test_no_account_may_do_anything_in_another_namespace(kubeconfig, place, acts):
    for account in ALLOWED:
        with connected(kubeconfig, place, account) as api:
            for act in acts:
                if act.namespaced and act.verb in ("create", "list", "delete"):
                    assert status(api, act, "default") == 403, f"{account}: {act.verb} {act.resource} in default"


def test_the_pipeline_may_do_what_a_step_of_kubeflow_pipelines_must_and_reads_no_other_object(kubeconfig, place):
    # Rights are looked at before kinds: where Argo is not installed, who may gets 404 and who may not gets 403.
    outcome = Act("argoproj.io", "v1alpha1", "workflowtaskresults", True, "patch")
    secret = Act("", "v1", "secrets", True, "get")
    settings = Act("", "v1", "configmaps", True, "get")
    with connected(kubeconfig, place, "pipeline") as api:
        assert status(api, secret, place, "mlpipeline-minio-artifact") == 404, "allowed, and not there"
        assert status(api, settings, place, "kfp-launcher") == 404
        assert status(api, outcome, place) != 403
        assert status(api, secret, place, "gristmill-s3") == 403
        assert status(api, settings, place, "kube-root-ca.crt") == 403
    with connected(kubeconfig, place, "train") as api:
        assert status(api, secret, place, "mlpipeline-minio-artifact") == 403
        assert status(api, settings, place, "kfp-launcher") == 403
        assert status(api, outcome, place) == 403
