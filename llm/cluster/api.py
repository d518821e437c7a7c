"""The connection to a Kubernetes API server: found as kubectl finds it, patient with outages, plain in its errors.

Objects are the server's own JSON (dicts): what we read of them is little, and fields that a newer server adds do no
harm. The `kubernetes` package takes a second to import, so that happens in functions only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.cluster.refusal import Refused, Unreachable, refusal
from llm.config import ClusterConfig
from llm.errors import ServiceError, UserError

ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LONGEST_WAIT_SECONDS = 5.0
FIRST_WAIT_SECONDS = 0.2

Json = dict[str, Any]
Query = Mapping[str, str | int | bool]


def tell_nobody(message: str) -> None:
    """Tell nobody."""


class Api:
    """Requests to one API server, in one namespace."""

    def __init__(self, configuration: Any, source: str, namespace: str, timeout_seconds: float) -> None:
        """Speak to the server of a `kubernetes` client configuration, which `source` gave ("the kubeconfig x")."""
        from kubernetes.client import ApiClient

        self._configuration, self._client = configuration, ApiClient(configuration)
        self.source, self.namespace, self.timeout_seconds = source, namespace, timeout_seconds
        self.patience_seconds = timeout_seconds
        """How long an outage is waited out."""
        self.tell: Callable[[str], None] = tell_nobody
        """Where an outage that is waited out is told, once."""

    @property
    def server(self) -> str:
        """The server's address."""
        return str(self._configuration.host)

    def twin(self, timeout_seconds: float) -> Api:
        """The same server through connections of its own, without patience: for a signal handler or a thread."""
        api = Api(self._configuration, self.source, self.namespace, timeout_seconds)
        api.patience_seconds = 0.0
        return api

    def close(self) -> None:
        """Close the connections."""
        self._client.rest_client.pool_manager.clear()
        self._client.close()

    def get(self, path: str, doing: str, query: Query | None = None) -> Json:
        """The object or list at a path; `doing` says in an error what was wanted ("read pod ml/x")."""
        return self._request("GET", path, doing, query=query)

    def post(self, path: str, doing: str, body: Json) -> Json:
        """Create an object. A lost answer is asked for again, so the object may be found to exist: 409."""
        return self._request("POST", path, doing, body=body)

    def delete(self, path: str, doing: str, body: Json) -> Json:
        """Delete an object."""
        return self._request("DELETE", path, doing, body=body)

    @contextmanager
    def stream(self, path: str, doing: str, query: Query, silence_seconds: float) -> Iterator[Any]:
        """The answer as it comes (a urllib3 response); Unreachable once it is silent for too long or breaks off."""
        from urllib3.exceptions import HTTPError

        response = self._once("GET", path, doing, query, None, "application/json", stream=silence_seconds)
        try:
            yield response
        except HTTPError as error:
            raise Unreachable(f"{doing} broke off: {_why(error)}") from error
        finally:
            response.close()
            response.release_conn()

    def _request(self, method: str, path: str, doing: str, *, query: Query | None = None, body: Json | None = None,
                 content_type: str = "application/json") -> Json:  # fmt: skip
        deadline, wait, told = time.monotonic() + self.patience_seconds, FIRST_WAIT_SECONDS, False
        while True:
            try:
                answer: Json = self._once(method, path, doing, query, body, content_type)
            except Unreachable as error:
                if time.monotonic() + wait > deadline:
                    raise
                if not told:
                    self.tell(f"{str(error).splitlines()[0]}; trying again for {self.patience_seconds:.0f} s")
                    told = True
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
            else:
                if told:
                    self.tell(f"{self.server} answers again")
                return answer

    def _once(self, method: str, path: str, doing: str, query: Query | None, body: Json | None, content_type: str,
              stream: float | None = None) -> Any:  # fmt: skip
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.call_api(
                path, method, query_params=[(name, _text(value)) for name, value in (query or {}).items()],
                header_params={"Accept": "*/*", "Content-Type": content_type}, body=body, response_type="object",
                auth_settings=["BearerToken"], _return_http_data_only=True, _preload_content=stream is None,
                _request_timeout=(self.timeout_seconds, stream or self.timeout_seconds),
            )  # fmt: skip
        except ApiException as error:
            if not error.status:  # the client's word for a certificate that is not trusted
                raise ServiceError(
                    f"the Kubernetes API server at {self.server} cannot be trusted: {' '.join(error.reason.split())}",
                    "The kubeconfig's certificate-authority is not that of the server, or the server's has expired.",
                ) from error
            text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
            raise refusal(doing, self.server, error.status, error.reason or "", text) from error
        except (HTTPError, OSError) as error:
            raise Unreachable(
                f"the Kubernetes API server at {self.server} does not answer: {_why(error)}",
                f"The address is that of {self.source}: is the cluster up, and reachable from here?",
            ) from error
        if stream is None and not isinstance(answer, dict):
            raise ServiceError(
                f"{self.server} does not answer as a Kubernetes API server, but: {' '.join(str(answer).split())[:100]}",
                f"The address is that of {self.source}. Is it a login page? Renew the credentials there.",
            )
        return answer


def connect(cluster: ClusterConfig) -> Api:
    """Connect as kubectl does: to the server of $KUBECONFIG, in a pod to its own, else to that of ~/.kube/config.

    The namespace is the configured one, else the pod's, else the kubeconfig's, else `default`. Raises UserError for a
    kubeconfig that cannot be read, ServiceError if the server does not answer within `cluster.timeout_seconds`, or
    refuses the credentials.
    """
    from kubernetes.client import Configuration

    configuration = Configuration()
    source, namespace = _from_the_pod(configuration) if _is_in_a_pod() else _from_a_kubeconfig(configuration)
    configuration.retries = False  # ours are bounded by time, and know what may be repeated
    api = Api(configuration, source, cluster.namespace or namespace or "default", cluster.timeout_seconds)
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
    """What Kubernetes' client raises of a kubeconfig that is not there, or is none."""
    import yaml
    from kubernetes.config import ConfigException

    return (ConfigException, OSError, yaml.YAMLError, TypeError, ValueError, KeyError)


def _from_a_kubeconfig(configuration: Any) -> tuple[str, str | None]:
    from kubernetes.config import list_kube_config_contexts, load_kube_config

    path = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
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


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _why(error: BaseException) -> str:
    """The innermost reason in a line: `Connection refused` rather than an object's address."""
    from urllib3.exceptions import TimeoutError as UrllibTimeout

    link: BaseException | None = error
    reason = timeout = ""
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            reason = link.strerror
        if isinstance(link, UrllibTimeout | TimeoutError):  # a refused connection is one too, to urllib3
            timeout = "no answer in time"
        link = link.__cause__ or link.__context__
    return reason or timeout or " ".join(str(error).split())


__all__ = ["Api", "Json", "Refused", "Unreachable", "connect", "kubeconfig_errors", "pod_namespace", "tell_nobody"]
