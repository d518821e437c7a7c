"""Every request to Kubeflow Pipelines: how long it may take, and in plain words what went wrong.

KFP's client (2.17) waits for an answer without a limit, tries five times where once is enough, and takes the HTML of a
login page for an empty answer. All its requests pass through one method of its `ApiClient`, which `bound` replaces.
"""

from __future__ import annotations

import json
from typing import Any

from llm.cluster.refusal import MAY_PASS, Refused, Unreachable, why_no_answer
from llm.errors import causes
from llm.words import shortened

TOKEN_VARIABLE = "KFP_EXISTING_TOKEN"  # noqa: S105  the name of a variable, not a token
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105
WHERE_IT_IS = "Set cluster.kfp_uri=http://HOST:PORT, or KFP_ENDPOINT."
PORT_FORWARD = "From a workstation: kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888"
OWN_AUTHORITY = "If its certificate is of your own authority: SSL_CERT_FILE=FILE."


def bound(api_client: Any, timeout_seconds: float) -> None:
    """Give every request of an `ApiClient` its time, and its failure our words: it raises Refused or Unreachable."""
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
            raise _no_answer(uri, error, timeout_seconds) from error
        kind = (answer.getheader("content-type") or "").partition(";")[0]
        if "/apis/v2beta1/" in url and kind != "application/json":
            raise _other_server(uri, kind or "something unnamed")
        if "/apis/v2beta1/" in url and not _is_object(answer.data):
            raise _other_server(uri, "something else than an object")
        return answer

    api_client.request, api_client.is_bounded = request, True


def _is_object(body: bytes | str) -> bool:
    """Whether an answer is a JSON object: the client makes an empty answer, or a fault, of anything else."""
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _other_server(uri: str, what: str) -> Refused:
    return Refused(
        404, "", f"{uri} answers with {what}, not with the API of Kubeflow Pipelines",
        f"Is it a login page? Set {TOKEN_VARIABLE} to a token that its proxy takes.",
        f"Or another server? {WHERE_IT_IS}",
    )  # fmt: skip


def _refusal(uri: str, error: Any) -> Refused | Unreachable:
    """The server's answer as an error, with its status."""
    if not error.status:  # the client's own way to say that it does not trust the certificate
        return Refused(400, "", f"Kubeflow Pipelines at {uri}: {shortened(str(error.reason))}", OWN_AUTHORITY)
    said = _words(error.body)
    message = f"Kubeflow Pipelines at {uri} refuses: {error.status} {error.reason or ''}".rstrip()
    message = f"{message}: {said}" if said else message
    hints = {
        401: f"The token is missing or has expired: set {TOKEN_VARIABLE}, or {TOKEN_FILE_VARIABLE} to its file.",
        403: "Ask the administrator of Kubeflow Pipelines for the right to do this.",
    }
    details = (hints[error.status],) if error.status in hints else ()
    if error.status in MAY_PASS:
        return Unreachable(message, *details, status=error.status)
    return Refused(error.status, error.reason or "", message, *details)


def _no_answer(uri: str, error: BaseException, timeout_seconds: float) -> Unreachable:
    from urllib3.exceptions import SSLError

    why = why_no_answer(error, timeout_seconds)
    details = [f"Is it up, and is this its address? {WHERE_IT_IS}", PORT_FORWARD]
    if any(isinstance(link, SSLError) for link in causes(error)):
        details = [OWN_AUTHORITY]
    return Unreachable(f"Kubeflow Pipelines at {uri} does not answer: {why}", *details)


def _words(body: bytes | str | None) -> str:
    """The message in an error's body: gRPC's or Kubernetes' JSON, or short plain text; nothing of an HTML page."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        document = json.loads(text)
    except ValueError:
        return "" if text.lstrip().startswith("<") else shortened(text)
    if not isinstance(document, dict):
        return shortened(text)
    return shortened(str(document.get("message") or document.get("error") or ""))
