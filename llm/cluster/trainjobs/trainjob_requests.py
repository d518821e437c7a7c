"""All that a training asks of the API server: the Role of a launcher in the platform chart is this list, and no more.

trainjobs          create, get, list, delete
trainingruntimes   get, list
pods               get, list
pods/log           get
events             list

Beside it one asks for one's own rights, which every account may (`selfsubjectaccessreviews`: create).
"""

from __future__ import annotations

from llm.cluster.api import Api, Json
from llm.cluster.pod_requests import items, or_none
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.trainjob import GROUP, RUN, VERSION, label_value

FOREGROUND: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
"""The object stays until its JobSet and all their pods are gone, and so says when that is."""


def trainjob_path(api: Api, name: str = "") -> str:
    """Path of a TrainJob, or of all."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/trainjobs" + (f"/{name}" if name else "")


def create_trainjob(api: Api, body: Json) -> Json:
    """Create; raises Refused with status 409 if the name is taken."""
    return api.post(trainjob_path(api), f"create TrainJob {api.namespace}/{body['metadata']['name']}", body)


def trainjob(api: Api, name: str) -> Json | None:
    """The TrainJob, or None."""
    return or_none(api, trainjob_path(api, name), f"read TrainJob {api.namespace}/{name}")


def trainjobs_of(api: Api, run: str) -> list[Json]:
    """All TrainJobs of a run."""
    return trainjobs_with(api, RUN, label_value(run))


def trainjobs_with(api: Api, label: str, value: str) -> list[Json]:
    """All TrainJobs with that value of a label."""
    return items(
        api.get(trainjob_path(api), f"list TrainJobs in {api.namespace}", {"labelSelector": f"{label}={value}"})
    )


def delete_trainjob(api: Api, name: str) -> bool:
    """Ask for the TrainJob, its JobSet and its pods to be deleted; False if there is none."""
    try:
        api.delete(trainjob_path(api, name), f"delete TrainJob {api.namespace}/{name}", FOREGROUND)
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return True


def pools(api: Api) -> list[str]:
    """The names of the namespace's TrainingRuntimes."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/trainingruntimes"
    return sorted(item["metadata"]["name"] for item in items(api.get(path, f"list the pools in {api.namespace}")))


def pool(api: Api, name: str) -> Json | None:
    """The TrainingRuntime, or None."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/trainingruntimes/{name}"
    return or_none(api, path, f"read pool {api.namespace}/{name}")


def right_to_create_trainjobs(api: Api) -> Json | None:
    """What the server says of our right to create TrainJobs, a SubjectAccessReview's status; None if it does not."""
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
