"""Failures of a request to a cluster, in plain words. There are two kinds:

Refused       final: the same request would be refused again. It has the server's status.
Unreachable   an outage: no answer, or one that says "not now". The same request may pass later.
"""

from __future__ import annotations

import json
import re
from typing import Any

from llm.errors import OutageError, ServiceError, causes
from llm.words import duration, shortened

MAY_PASS = frozenset({429, 500, 502, 503, 504})
"""Statuses that say: not now. All others are final."""
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_ACCOUNT = "system:serviceaccount:"


class Refused(ServiceError):
    """An answer that is a refusal; `status` and `reason` are the server's."""

    def __init__(self, status: int, reason: str, message: str, *details: str) -> None:
        """Take the answer's status and reason, and the text to print."""
        super().__init__(message, *details)
        self.status, self.reason = status, reason


class Unreachable(OutageError):
    """No answer, or one that says "not now"; `status` is None without an answer."""

    def __init__(self, message: str, *details: str, status: int | None = None) -> None:
        """Take the text to print, and the status if there was an answer."""
        super().__init__(message, *details)
        self.status = status


def why_no_answer(error: BaseException, timeout_seconds: float) -> str:
    """Why there was no answer, in a line: `Connection refused`, `no answer within 5 s`."""
    from urllib3.exceptions import NewConnectionError
    from urllib3.exceptions import TimeoutError as UrllibTimeout

    chain = list(causes(error))
    refused = any(isinstance(link, NewConnectionError) for link in chain)  # to urllib3 a TimeoutError too
    if any(isinstance(link, UrllibTimeout | TimeoutError) for link in chain) and not refused:
        return f"no answer within {duration(timeout_seconds)}"
    system = [link.strerror for link in chain if isinstance(link, OSError) and link.strerror]
    return system[-1] if system else shortened(str(chain[-1]))


def refusal(doing: str, server: str, status: int, reason: str, body: str | None) -> Refused | Unreachable:
    """The error for an answer to `doing` ("create TrainJob ml/x") that is not a success."""
    said, words = _said(body), f"{status} {reason}".strip()
    first = f"the cluster refused to {doing}: {words}"
    if status == 401:
        return Refused(status, reason, first, *_unauthorized(server))
    if status == 403:
        return Refused(status, reason, first, *_forbidden(said))
    if status in MAY_PASS:
        return Unreachable(f"the cluster could not {doing}: {words}", *_quoted(said), status=status)
    return Refused(status, reason, first, *_quoted(said))


def _unauthorized(server: str) -> tuple[str, ...]:
    return (
        f"The credentials are expired or not those of {server}.",
        "Renew them: log in again for a kubeconfig with a token; in a pod, see that its service account still exists.",
    )


def _forbidden(said: str) -> tuple[str, ...]:
    match = _FORBIDDEN.search(said)
    if match is None:  # an admission webhook or a quota: its words say more than ours could
        return _quoted(said)
    user = match["user"]
    who = f"service account {user.removeprefix(_ACCOUNT).replace(':', '/')}" if user.startswith(_ACCOUNT) else user
    what = f"{match['resource']}.{match['group']}" if match["group"] else match["resource"]
    where = f" in namespace {match['namespace']}" if match["namespace"] else ""
    return (f"{who} may not {match['verb']} {what}{where}", _grant(match["resource"]))


def _grant(resource: str) -> str:
    if resource.partition("/")[0] in {"trainjobs", "trainingruntimes", "pods", "events"}:
        return (
            "An administrator grants it with the chart gristmill-platform in that namespace: rbac.train=true lets its"
            " accounts NAME-pipeline and NAME-train do it."
        )
    return "An administrator grants it with a Role and a RoleBinding in that namespace."


def _quoted(said: str) -> tuple[str, ...]:
    return (said,) if said else ()


def _said(body: str | None) -> str:
    """The words of the server's Status object, or the bare text of an answer that is none."""
    if not body:
        return ""
    try:
        status: Any = json.loads(body)
    except ValueError:
        return shortened(body)
    return str(status.get("message") or "") if isinstance(status, dict) else ""
