"""A Kubernetes API server, found as kubectl finds it, and asked with patience.

Objects are the server's own JSON (dicts): we read little of them, and fields that a newer server adds do no harm. The
`kubernetes` package takes a second to import, so functions import it and modules do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from llm.cluster.patience import CLOCK, Clock, Tell, patiently, silent
from llm.cluster.transport import HttpTransport, Json, Query
from llm.config import ClusterConfig
from llm.errors import UserError
from llm.process.home import home_folder

ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Stream(Protocol):
    """An answer as it comes."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come."""

    def hang_up(self) -> None:
        """End it from another thread."""


class Transport(Protocol):
    """Requests to one API server, each tried once: over HTTP, or in a test's memory."""

    source: str
    """The place that gave the server's address: "the kubeconfig x"."""
    timeout_seconds: float

    @property
    def server(self) -> str:
        """The server's address."""

    def new_connection(self, timeout_seconds: float) -> Transport:
        """The same server through connections of its own."""

    def request(self, method: str, path: str, doing: str, query: Query, body: Json | None) -> Json:
        """The answer; raises Refused, or Unreachable."""

    def stream(self, path: str, doing: str, query: Query, silence_seconds: float) -> AbstractContextManager[Stream]:
        """The answer as it comes; raises Unreachable once it is silent for too long, or breaks off."""

    def close(self) -> None:
        """Close the connections."""


class Api:
    """Requests to one API server, in one namespace; an outage is waited out for `patience_seconds`."""

    def __init__(self, transport: Transport, namespace: str, clock: Clock = CLOCK) -> None:
        """Speak through a transport; outages are waited out for as long as its timeout, and silently."""
        self._transport, self.namespace, self.clock = transport, namespace, clock
        self.patience_seconds = transport.timeout_seconds
        self.tell: Tell = silent
        """Gets a line when an outage begins, and one when it ends."""

    @property
    def server(self) -> str:
        """The server's address."""
        return self._transport.server

    @property
    def source(self) -> str:
        """The place that gave the address."""
        return self._transport.source

    @property
    def timeout_seconds(self) -> float:
        """Seconds that one answer may take."""
        return self._transport.timeout_seconds

    def new_connection(self, timeout_seconds: float, namespace: str | None = None) -> Api:
        """The same server through connections of its own, without patience: for a signal handler or a thread."""
        api = Api(self._transport.new_connection(timeout_seconds), namespace or self.namespace, self.clock)
        api.patience_seconds = 0.0
        return api

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def get(self, path: str, doing: str, query: Query | None = None) -> Json:
        """The object or list at a path; `doing` says in an error what was wanted ("read pod ml/x")."""
        return self._request("GET", path, doing, query=query)

    def post(self, path: str, doing: str, body: Json) -> Json:
        """Create an object. It is asked for again when an answer is lost, so the object may exist already: 409."""
        return self._request("POST", path, doing, body=body)

    def delete(self, path: str, doing: str, body: Json) -> Json:
        """Delete an object."""
        return self._request("DELETE", path, doing, body=body)

    def stream(self, path: str, doing: str, query: Query, silence_seconds: float) -> AbstractContextManager[Stream]:
        """The answer as it comes; raises Unreachable once it is silent for too long, or breaks off."""
        return self._transport.stream(path, doing, query, silence_seconds)

    def _request(
        self, method: str, path: str, doing: str, query: Query | None = None, body: Json | None = None
    ) -> Json:
        return patiently(
            lambda: self._transport.request(method, path, doing, query or {}, body),
            self.patience_seconds, self.tell, self.server, clock=self.clock,
        )  # fmt: skip


def connect(cluster: ClusterConfig) -> Api:
    """Connect as kubectl does: to the server of $KUBECONFIG, in a pod to its own, else to that of ~/.kube/config.

    The namespace is the configured one, else the pod's, else the kubeconfig's, else `default`. Raises UserError for a
    kubeconfig that cannot be read, ServiceError if the server does not answer within `cluster.timeout_seconds`, or
    refuses the credentials.
    """
    from kubernetes.client import Configuration

    configuration = Configuration()
    source, namespace = _from_the_pod(configuration) if _is_in_a_pod() else _from_a_kubeconfig(configuration)
    configuration.retries = False  # ours are bounded by time, and know what may be asked for again
    transport = HttpTransport(configuration, source, cluster.timeout_seconds)
    api = Api(transport, cluster.namespace or namespace or "default")
    try:
        api.get("/version", "tell its version")
    except BaseException:
        api.close()
        raise
    return api


def pod_namespace() -> str | None:
    """The namespace of the pod that this process runs in; None outside of one."""
    path = ACCOUNT_FOLDER / "namespace"
    return path.read_text().strip() if path.is_file() else None


def _is_in_a_pod() -> bool:
    return not os.environ.get("KUBECONFIG") and (ACCOUNT_FOLDER / "token").is_file()


def _from_the_pod(configuration: Any) -> tuple[str, str | None]:
    from kubernetes.config import ConfigException, load_incluster_config

    try:
        load_incluster_config(client_configuration=configuration)
    except ConfigException as error:
        raise UserError(f"this pod cannot speak to its cluster: {error}", "See its service account.") from error
    return "this pod's service account", pod_namespace()


def kubeconfig_errors() -> tuple[type[Exception], ...]:
    """Errors of Kubernetes' client for a kubeconfig that is missing or is not one."""
    import yaml
    from kubernetes.config import ConfigException

    return (ConfigException, OSError, yaml.YAMLError, TypeError, ValueError, KeyError)


def _from_a_kubeconfig(configuration: Any) -> tuple[str, str | None]:
    from kubernetes.config import list_kube_config_contexts, load_kube_config

    path = os.environ.get("KUBECONFIG") or str((home_folder() or Path("/")) / ".kube" / "config")
    try:
        load_kube_config(path, client_configuration=configuration)
        _, context = list_kube_config_contexts(path)
    except kubeconfig_errors() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the kubeconfig {path} gives no cluster: {reason}",
            "Set KUBECONFIG to a file that `kubectl config view` accepts and whose current-context is the cluster.",
        ) from error
    return f"the kubeconfig {path}", context["context"].get("namespace")


__all__ = ["Api", "Json", "Query", "Stream", "Transport", "connect", "kubeconfig_errors", "pod_namespace"]
