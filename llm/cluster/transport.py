"""Requests to a Kubernetes API server over HTTP, each tried once, with its failure in plain words."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from llm.cluster.refusal import Unreachable, refusal, why_no_answer
from llm.errors import ServiceError
from llm.words import shortened

CHUNK_BYTES = 1 << 16
Json = dict[str, Any]
Query = Mapping[str, str | int | bool]


class HttpTransport:
    """Connections to the server of a `kubernetes` client configuration."""

    def __init__(self, configuration: Any, source: str, timeout_seconds: float) -> None:
        """`source` gave the configuration ("the kubeconfig x"); one answer may take `timeout_seconds`."""
        from kubernetes.client import ApiClient

        self._configuration, self._client = configuration, ApiClient(configuration)
        self.source, self.timeout_seconds = source, timeout_seconds

    @property
    def server(self) -> str:
        """The server's address."""
        return str(self._configuration.host)

    def new_connection(self, timeout_seconds: float) -> HttpTransport:
        """The same server through connections of its own."""
        return HttpTransport(self._configuration, self.source, timeout_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._client.rest_client.pool_manager.clear()
        self._client.close()

    def request(self, method: str, path: str, doing: str, query: Query, body: Json | None) -> Json:
        """The server's answer; raises Refused, Unreachable, or ServiceError for a server that is no API server."""
        answer = self._call(method, path, doing, query, body, self.timeout_seconds, preload=True)
        if not isinstance(answer, dict):
            raise ServiceError(
                f"{self.server} does not answer as a Kubernetes API server, but: {shortened(str(answer), 100)}",
                f"The address is that of {self.source}. Is it a login page? Renew the credentials there.",
            )
        return answer

    @contextmanager
    def stream(self, path: str, doing: str, query: Query, silence_seconds: float) -> Iterator[HttpStream]:
        """The answer as it comes; raises Unreachable once it is silent for too long, or breaks off."""
        from urllib3.exceptions import HTTPError

        response = self._call("GET", path, doing, query, None, silence_seconds, preload=False)
        try:
            yield HttpStream(response)
        except HTTPError as error:
            raise Unreachable(f"{doing} broke off: {why_no_answer(error, silence_seconds)}") from error
        finally:
            response.close()
            response.release_conn()

    def _call(
        self, method: str, path: str, doing: str, query: Query, body: Json | None, read_seconds: float, *, preload: bool
    ) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._client.call_api(
                path, method, query_params=[(name, _text(value)) for name, value in query.items()],
                header_params={"Accept": "*/*", "Content-Type": "application/json"}, body=body, response_type="object",
                auth_settings=["BearerToken"], _return_http_data_only=True, _preload_content=preload,
                _request_timeout=(self.timeout_seconds, read_seconds),
            )  # fmt: skip
        except ApiException as error:
            if not error.status:  # the client's own way to say that it does not trust the certificate
                raise ServiceError(
                    f"the Kubernetes API server at {self.server} cannot be trusted: {shortened(error.reason)}",
                    "The kubeconfig's certificate-authority is not that of the server, or the server's has expired.",
                ) from error
            text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
            raise refusal(doing, self.server, error.status, error.reason or "", text) from error
        except (HTTPError, OSError) as error:
            raise Unreachable(
                f"the Kubernetes API server at {self.server} does not answer: "
                f"{why_no_answer(error, self.timeout_seconds)}",
                f"The address is that of {self.source}: is the cluster up, and reachable from here?",
            ) from error


class HttpStream:
    """The body of an answer as it comes."""

    def __init__(self, response: Any) -> None:
        """Take urllib3's response."""
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come."""
        yield from self._response.stream(CHUNK_BYTES)

    def hang_up(self) -> None:
        """End it from another thread: to close the response would wait for that thread."""
        with suppress(AttributeError, OSError):  # it has just ended by itself
            self._response.connection.sock.shutdown(socket.SHUT_RDWR)


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
