"""Whether a pod's account has the rights of its Role (asked of the API), and gets 403 for the rest (tried).

The pods `test-pipeline` and `test-train` of `helm test`. They read NAMESPACE, and two variables that hold JSON: RULES
(the rules of the Role) and FORBIDDEN (the arguments of `attempt`).
"""

from __future__ import annotations

import itertools
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from typing import Any

from llm.process.reach import await_route

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
METHODS = {"create": "POST", "get": "GET", "list": "GET", "delete": "DELETE"}


def call(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """The API server's status and answer, asked under this pod's account."""
    with open(f"{ACCOUNT}/token") as file:
        token = file.read()
    request = urllib.request.Request(
        f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    trust = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    try:
        with urllib.request.urlopen(request, timeout=20, context=trust) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}


def allowed(group: str, resource: str, verb: str, name: str) -> bool:
    """Whether the API server would let this account do it."""
    resource, _, subresource = resource.partition("/")
    within = os.environ["NAMESPACE"]
    attributes = {"namespace": within, "group": group, "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, "verb": verb, "name": name}},
    }
    status, answer = call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    if status != 201:
        sys.exit(f"error: the API server answered a SelfSubjectAccessReview with {status}")
    return bool(answer["status"]["allowed"])


def attempt(
    verb: str, resource: str, group: str = "", version: str = "v1", namespace: str | None = None, name: str = ""
) -> int:
    """The status of a real attempt. If it is allowed, dryRun prevents harm."""
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    within = os.environ["NAMESPACE"] if namespace is None else namespace
    resource, _, subresource = resource.partition("/")
    parts = [base, *(["namespaces", within] if within else []), resource, name, subresource]
    query = "?dryRun=All" if verb in ("create", "delete") else ""
    return call(METHODS[verb], "/".join(part for part in parts if part) + query, {} if verb == "create" else None)[0]


def main() -> None:
    """Try all; exit code 1 and a list of what differs."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    await_route(host and f"https://{host}:{port}")
    wrong, tried = [], 0
    for rule in json.loads(os.environ["RULES"]):
        acts = itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""]))
        for group, resource, verb, name in acts:
            tried += 1
            if not allowed(group, resource, verb, name):
                wrong.append(f"may not {verb} {resource} {name}, and should")
    for act in json.loads(os.environ["FORBIDDEN"]):
        tried += 1
        status = attempt(**act)
        if status != 403:
            wrong.append(f"{act} was answered with {status}, not 403")
    if wrong:
        sys.exit("error: the account's rights are not those of its Role\n  " + "\n  ".join(wrong))
    sys.stdout.write(f"{tried} rights are as they should be\n")


if __name__ == "__main__":
    main()
