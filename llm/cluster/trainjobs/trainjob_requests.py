"""All that a training asks of the API server.

The Role of a launcher in the platform chart allows this and no more: tests/unit/cluster/trainjobs/test_rights.py
compares the two. Every account may also ask for its own rights.
"""

from __future__ import annotations

from llm.cluster.api import Api, Json
from llm.cluster.labels import label_value
from llm.cluster.pod_requests import if_allowed, items, or_none, pods_with
from llm.cluster.pods import Pod
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.trainjob import GROUP, NODE, RUN, VERSION

FOREGROUND: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
"""The object stays until its JobSet and all its pods are gone: so one can see when that is."""
JOBSET = "jobset.sigs.k8s.io/jobset-name"


def create_trainjob(api: Api, body: Json) -> Json:
    """Create a TrainJob; raises Refused with status 409 if the name is taken."""
    return api.post(_path(api, "trainjobs"), f"create TrainJob {api.namespace}/{body['metadata']['name']}", body)


def trainjob(api: Api, name: str) -> Json | None:
    """The TrainJob, or None."""
    return or_none(api, _path(api, "trainjobs", name), f"read TrainJob {api.namespace}/{name}")


def trainjobs_of(api: Api, run: str) -> list[Json]:
    """All TrainJobs of a run."""
    return trainjobs_with(api, RUN, label_value(run))


def trainjobs_with(api: Api, label: str, value: str) -> list[Json]:
    """All TrainJobs with that value of a label."""
    query = {"labelSelector": f"{label}={value}"}
    return items(api.get(_path(api, "trainjobs"), f"list TrainJobs in {api.namespace}", query))


def delete_trainjob(api: Api, name: str) -> bool:
    """Ask for the deletion of the TrainJob, its JobSet and its pods; False if there is no such TrainJob."""
    try:
        api.delete(_path(api, "trainjobs", name), f"delete TrainJob {api.namespace}/{name}", FOREGROUND)
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return True


def pools(api: Api) -> list[str]:
    """The names of the namespace's TrainingRuntimes."""
    return sorted(item["metadata"]["name"] for item in pool_documents(api))


def pool_documents(api: Api) -> list[Json]:
    """The namespace's TrainingRuntimes."""
    return items(api.get(_path(api, "trainingruntimes"), f"list the pools in {api.namespace}"))


def pool(api: Api, name: str) -> Json | None:
    """The TrainingRuntime, or None."""
    return or_none(api, _path(api, "trainingruntimes", name), f"read pool {api.namespace}/{name}")


def right_to_create_trainjobs(api: Api) -> Json | None:
    """The server's answer whether we may create TrainJobs: a SubjectAccessReview's status; None if it does not say."""
    asked = {"namespace": api.namespace, "verb": "create", "group": GROUP, "resource": "trainjobs"}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked}}  # fmt: skip
    try:
        answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "tell our rights", body)
    except Refused as error:
        if error.status not in (403, 404):
            raise
        return None
    return answer.get("status")


def training_pods(api: Api, name: str) -> list[Pod]:
    """The pods of a TrainJob, both those that end and those that begin after a restart."""
    return pods_with(api, JOBSET, name, NODE)


def visible_pods(api: Api, name: str) -> list[Pod] | None:
    """The pods of a TrainJob; None if we may not see pods. A training needs no launcher that sees them."""
    return if_allowed(lambda: training_pods(api, name))


def _path(api: Api, kind: str, name: str = "") -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/{kind}" + (f"/{name}" if name else "")
