"""Requests to the API server about pods: those with a label, one by its name, its log, the warnings about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from llm.cluster.api import Api, Json, Query, Stream
from llm.cluster.pods import Pod, read_pod
from llm.cluster.refusal import Refused
from llm.errors import ServiceError

T = TypeVar("T")
SILENCE_SECONDS = 60.0
"""A log that is silent for so long is read through a new connection: the old one may be dead unnoticed."""


def pods_with(api: Api, label: str, value: str, container: str, namespace: str | None = None) -> list[Pod]:
    """The pods with that value of a label; `container` is the one that works in each."""
    namespace = namespace or api.namespace
    found = items(api.get(pod_path(namespace), f"list pods in {namespace}", {"labelSelector": f"{label}={value}"}))
    return [read_pod(document, container) for document in found]


def pod_document(api: Api, name: str, namespace: str) -> Json | None:
    """A pod as the server describes it, or None."""
    return or_none(api, pod_path(namespace, name), f"read pod {namespace}/{name}")


def last_lines(api: Api, name: str, container: str, count: int) -> list[str]:
    """The last lines of a pod's log; none if there is no such pod, no log, or no node that answers."""
    try:
        with log_of(api, api.namespace, name, container, {"tailLines": count}) as stream:
            return b"".join(stream.chunks()).decode(errors="replace").splitlines()
    except ServiceError:
        return []


@contextmanager
def log_of(api: Api, namespace: str, name: str, container: str, query: Query) -> Iterator[Stream]:
    """The log of a pod's container as it comes."""
    path, doing = f"{pod_path(namespace, name)}/log", f"read the log of pod {namespace}/{name}"
    with api.stream(path, doing, {"container": container, **query}, SILENCE_SECONDS) as stream:
        yield stream


def warnings_of(api: Api, name: str, namespace: str | None = None) -> list[Json]:
    """The warnings that controllers left about the objects of that name, oldest first."""
    query = {"fieldSelector": f"type=Warning,involvedObject.name={name}"}
    namespace = namespace or api.namespace
    path = f"/api/v1/namespaces/{namespace}/events"
    return sorted(items(api.get(path, f"list events in {namespace}", query)), key=time_of_event)


def time_of_event(event: Json) -> str:
    """When it was last seen: RFC 3339 in UTC, so the text sorts by time."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def pod_path(namespace: str, name: str = "") -> str:
    """Path of a pod, or of all."""
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def items(answer: Json) -> list[Json]:
    """The objects of a list."""
    return list(answer.get("items") or [])


def if_allowed(ask: Callable[[], T]) -> T | None:
    """The answer of the API server, or None if we may not have it (403)."""
    try:
        return ask()
    except Refused as error:
        if error.status != 403:
            raise
        return None


def or_none(api: Api, path: str, doing: str) -> Json | None:
    """The object at a path, or None if there is none."""
    try:
        return api.get(path, doing)
    except Refused as error:
        if error.status != 404:
            raise
        return None
