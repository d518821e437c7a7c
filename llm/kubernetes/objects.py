"""All that a training asks of the API server: the Role of a launcher in the platform chart is this list, and no more.

trainjobs          create, get, list, patch, delete
trainingruntimes   get, list
pods               get, list
pods/log           get
events             list

Beside it one asks for one's own rights, which every account may (`selfsubjectaccessreviews`: create).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llm.errors import ServiceError
from llm.kubernetes.api import Api, Json, Query
from llm.kubernetes.refusal import Refused
from llm.kubernetes.trainjob import GROUP, NODE, RUN, VERSION, label_value

FOREGROUND: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
"""The object stays until its JobSet and all their pods are gone, and so says when that is."""
JOBSET = "jobset.sigs.k8s.io/jobset-name"
_SILENCE_SECONDS = 60.0
"""A log that says nothing for so long is attached to anew: its connection may be dead without anyone knowing."""


def trainjob_path(api: Api, name: str = "") -> str:
    """Path of a TrainJob, or of all."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/trainjobs" + (f"/{name}" if name else "")


def create_trainjob(api: Api, body: Json) -> Json:
    """Create; raises Refused with status 409 if the name is taken."""
    return api.post(trainjob_path(api), f"create TrainJob {api.namespace}/{body['metadata']['name']}", body)


def trainjob(api: Api, name: str) -> Json | None:
    """The TrainJob, or None."""
    return _or_none(api, trainjob_path(api, name), f"read TrainJob {api.namespace}/{name}")


def trainjobs_of(api: Api, run: str) -> list[Json]:
    """All TrainJobs of a run."""
    return trainjobs_with(api, RUN, label_value(run))


def trainjobs_with(api: Api, label: str, value: str) -> list[Json]:
    """All TrainJobs with that value of a label."""
    return _items(
        api.get(trainjob_path(api), f"list TrainJobs in {api.namespace}", {"labelSelector": f"{label}={value}"})
    )


def add_owner(api: Api, job: Json, reference: Json) -> None:
    """Let the TrainJob also be owned by another object: it goes when all its owners are gone."""
    metadata = job["metadata"]
    body = {"metadata": {"ownerReferences": [*metadata.get("ownerReferences", []), reference]}}
    name = metadata["name"]
    api.patch(trainjob_path(api, name), f"change the owners of TrainJob {api.namespace}/{name}", body)


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
    return sorted(item["metadata"]["name"] for item in _items(api.get(path, f"list the pools in {api.namespace}")))


def pool(api: Api, name: str) -> Json | None:
    """The TrainingRuntime, or None."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/trainingruntimes/{name}"
    return _or_none(api, path, f"read pool {api.namespace}/{name}")


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


def pods_of(api: Api, name: str) -> list[Json]:
    """The pods of a TrainJob, those that end and those that begin after a restart alike."""
    query = {"labelSelector": f"{JOBSET}={name}"}
    return _items(api.get(_pod_path(api.namespace), f"list pods in {api.namespace}", query))


def pod(api: Api, name: str, namespace: str | None = None) -> Json | None:
    """A pod, or None."""
    namespace = namespace or api.namespace
    return _or_none(api, _pod_path(namespace, name), f"read pod {namespace}/{name}")


def last_lines(api: Api, name: str, count: int) -> list[str]:
    """The last lines that the training wrote in a pod; none if there is no such pod, no log, or no node to ask."""
    try:
        with log_of(api, name, {"tailLines": count}) as response:
            return str(response.read().decode(errors="replace")).splitlines()
    except ServiceError:
        return []


@contextmanager
def log_of(api: Api, name: str, query: Query) -> Iterator[Any]:
    """The log of a training's pod as it comes."""
    path, doing = f"{_pod_path(api.namespace, name)}/log", f"read the log of pod {api.namespace}/{name}"
    with api.stream(path, doing, {"container": NODE, **query}, _SILENCE_SECONDS) as response:
        yield response


def warnings_of(api: Api, name: str) -> list[Json]:
    """The warnings that controllers left of the objects of that name, oldest first."""
    query = {"fieldSelector": f"type=Warning,involvedObject.name={name}"}
    path = f"/api/v1/namespaces/{api.namespace}/events"
    return sorted(_items(api.get(path, f"list events in {api.namespace}", query)), key=time_of_event)


def time_of_event(event: Json) -> str:
    """When it was last seen, as RFC 3339 in UTC, which sorts."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def _pod_path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def _items(answer: Json) -> list[Json]:
    return list(answer.get("items") or [])


def _or_none(api: Api, path: str, doing: str) -> Json | None:
    try:
        return api.get(path, doing)
    except Refused as error:
        if error.status != 404:
            raise
        return None
