"""Every request to Kubeflow Pipelines: how long it may take, and in plain words what went wrong.

KFP's client (2.17) waits for ever for an answer, tries five times where one would do, and takes the HTML of a login
page for an empty answer. All its requests pass through one method of its `ApiClient`, which `bound` replaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm.errors import ServiceError

TOKEN_VARIABLE = "KFP_EXISTING_TOKEN"  # noqa: S105  the name of a variable, not a token
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105
WHERE_IT_IS = "Set cluster.kfp_uri=http://HOST:PORT, or KFP_ENDPOINT."
PORT_FORWARD = "From a workstation: kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
MAY_PASS = frozenset({429, 500, 502, 503, 504})
REASON_CHARACTERS = 400


class KfpError(ServiceError):
    """Kubeflow Pipelines does not answer, or refuses."""

    def __init__(self, message: str, *details: str, status: int | None = None) -> None:
        """Take the message, and the HTTP status if there was an answer."""
        super().__init__(message, *details)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status is None or self.status in MAY_PASS


def bound(api_client: Any, timeout_seconds: float) -> None:
    """Give every request of an `ApiClient` its time, and its failure our words: it raises KfpError."""
    if getattr(api_client, "is_bounded", False):
        return
    import kfp_server_api
    import urllib3

    uri, ask = api_client.configuration.host, api_client.request
    pool = api_client.rest_client.pool_manager.connection_pool_kw
    pool["retries"] = urllib3.Retry(total=None, connect=0, read=0, other=0, redirect=3)

    def request(method: str, url: str, **arguments: Any) -> Any:
        arguments["_request_timeout"] = (timeout_seconds, timeout_seconds)
        try:
            answer = ask(method, url, **arguments)
        except kfp_server_api.ApiException as error:
            raise _refusal(uri, error) from error
        except urllib3.exceptions.HTTPError as error:
            raise _silence(uri, error, timeout_seconds) from error
        kind = (answer.getheader("content-type") or "").partition(";")[0]
        if "/apis/v2beta1/" in url and kind != "application/json":
            raise KfpError(
                f"{uri} answers with {kind or 'something unnamed'}, not with the API of Kubeflow Pipelines",
                f"Is it a login page? Set {TOKEN_VARIABLE} to a token that its proxy takes.",
                f"Or another server? {WHERE_IT_IS}",
                status=404,
            )
        return answer

    api_client.request, api_client.is_bounded = request, True


def _refusal(uri: str, error: Any) -> KfpError:
    """What the server said, with its status."""
    if not error.status:  # the client's own way to say that it does not trust the certificate
        return KfpError(
            f"Kubeflow Pipelines at {uri}: {_shortened(str(error.reason))}",
            "If its certificate is of your own authority: SSL_CERT_FILE=FILE.",
            status=400,
        )
    said = _words(error.body)
    message = f"Kubeflow Pipelines at {uri} refuses: {error.status} {error.reason or ''}".rstrip()
    message = f"{message}: {said}" if said else message
    hints = {
        401: f"The token is missing or has expired: set {TOKEN_VARIABLE}, or {TOKEN_FILE_VARIABLE} to its file.",
        403: "Ask whoever runs Kubeflow Pipelines for the right to do this.",
    }
    details = (hints[error.status],) if error.status in hints else ()
    return KfpError(message, *details, status=error.status)


def _silence(uri: str, error: BaseException, timeout_seconds: float) -> KfpError:
    """Why there was no answer."""
    from urllib3 import exceptions

    chain = list(_chain(error))
    details = [f"Is it up, and is this its address? {WHERE_IT_IS}", PORT_FORWARD]
    refused = any(isinstance(link, exceptions.NewConnectionError) for link in chain)  # a TimeoutError too, to urllib3
    if any(isinstance(link, exceptions.TimeoutError) for link in chain) and not refused:
        return KfpError(f"Kubeflow Pipelines at {uri} does not answer: nothing within {timeout_seconds:g} s", *details)
    if any(isinstance(link, exceptions.SSLError) for link in chain):
        details = ["If its certificate is of your own authority: SSL_CERT_FILE=FILE."]
    system = next((link.strerror for link in chain if isinstance(link, OSError) and link.strerror), None)
    return KfpError(f"Kubeflow Pipelines at {uri} does not answer: {system or _shortened(str(chain[-1]))}", *details)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from: urllib3 keeps that as `reason`, or as an argument."""
    link: BaseException | None = error
    while link is not None:
        yield link
        kept = (one for one in (getattr(link, "reason", None), *link.args) if isinstance(one, BaseException))
        link = next(kept, None) or link.__cause__ or link.__context__


def _words(body: bytes | str | None) -> str:
    """The message in an error's body: gRPC's or Kubernetes' JSON, or short plain text; nothing of an HTML page."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        document = json.loads(text)
    except ValueError:
        return "" if text.lstrip().startswith("<") else _shortened(text)
    if not isinstance(document, dict):
        return _shortened(text)
    return _shortened(str(document.get("message") or document.get("error") or ""))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_CHARACTERS else f"{line[:REASON_CHARACTERS]}…"
