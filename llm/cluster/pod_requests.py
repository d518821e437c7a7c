"""What is asked of the API server about pods: the pods of a label, their logs, and the warnings about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llm.cluster.api import Api, Json, Query
from llm.cluster.pods import NODE
from llm.cluster.refusal import Refused
from llm.errors import ServiceError

JOBSET = "jobset.sigs.k8s.io/jobset-name"
_SILENCE_SECONDS = 60.0
"""A log that says nothing for so long is read through a new connection: the old one may be dead unnoticed."""


def pods_of(api: Api, name: str) -> list[Json]:
    """The pods of a TrainJob, those that end and those that begin after a restart alike."""
    query = {"labelSelector": f"{JOBSET}={name}"}
    return items(api.get(_pod_path(api.namespace), f"list pods in {api.namespace}", query))


def pod(api: Api, name: str, namespace: str | None = None) -> Json | None:
    """A pod, or None."""
    namespace = namespace or api.namespace
    return or_none(api, _pod_path(namespace, name), f"read pod {namespace}/{name}")


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
    return sorted(items(api.get(path, f"list events in {api.namespace}", query)), key=time_of_event)


def time_of_event(event: Json) -> str:
    """When it was last seen, as RFC 3339 in UTC, which sorts."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def _pod_path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def items(answer: Json) -> list[Json]:
    """The objects of a list."""
    return list(answer.get("items") or [])


def or_none(api: Api, path: str, doing: str) -> Json | None:
    """The object at a path, or None if there is none."""
    try:
        return api.get(path, doing)
    except Refused as error:
        if error.status != 404:
            raise
        return None
