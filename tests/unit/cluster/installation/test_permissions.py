"""`helm test` compares the rights of an account with its Role, here against an API server of three answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.cluster.installation import permissions

RULES = [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]}]
FORBIDDEN = [{"verb": "list", "resource": "secrets"}, {"verb": "create", "resource": "pods"}]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the API server allows and answers; it may be changed."""
    says: dict[str, Any] = {"review": 201, "allowed": {"pods", "pods/log"}, "attempts": 403, "asked": []}

    def call(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        says["asked"].append((method, path))
        if not path.endswith("selfsubjectaccessreviews"):
            return says["attempts"], {}
        assert body is not None
        asked = body["spec"]["resourceAttributes"]
        name = "/".join(part for part in (asked["resource"], asked["subresource"]) if part)
        return says["review"], {"status": {"allowed": name in says["allowed"]}}

    monkeypatch.setattr(permissions, "call", call)
    for name, value in {"NAMESPACE": "ml", "RULES": json.dumps(RULES), "FORBIDDEN": json.dumps(FORBIDDEN)}.items():
        monkeypatch.setenv(name, value)
    return says


def test_rights_that_are_those_of_the_role_pass(server: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    permissions.main()
    assert capsys.readouterr().out == "4 rights are as they should be\n"
    assert ("GET", "/api/v1/namespaces/ml/secrets") in server["asked"]
    assert ("POST", "/api/v1/namespaces/ml/pods?dryRun=All") in server["asked"], "an attempt does no harm"


def test_a_right_that_is_missing_is_named(server: dict[str, Any]) -> None:
    server["allowed"] = {"pods"}
    with pytest.raises(SystemExit, match="may not get pods/log , and should"):
        permissions.main()


def test_a_right_too_many_is_named(server: dict[str, Any]) -> None:
    server["attempts"] = 200
    with pytest.raises(SystemExit, match=r"'resource': 'secrets'.* was answered with 200, not 403"):
        permissions.main()


def test_a_review_that_the_api_server_refuses_is_named(server: dict[str, Any]) -> None:
    server["review"] = 403
    with pytest.raises(SystemExit, match="answered a SelfSubjectAccessReview with 403"):
        permissions.main()
