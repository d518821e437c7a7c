"""The connection to Kubeflow Pipelines: what it finds, and how it says that it cannot."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from llm.cluster.pipelines.kfp_client import KfpApi, connect
from llm.cluster.refusal import Refused, Unreachable
from llm.config import ClusterConfig
from llm.errors import ServiceError, UserError
from tests.cases.submission_fixtures import use_kubeconfig
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look

pytestmark = pytest.mark.usefixtures("no_cluster")
ENDED = [Look("SUCCEEDED")]
LOGIN = b"<!doctype html><html><body>Log in to Kubeflow</body></html>"


def test_the_address_may_come_from_the_environment_as_for_the_kfp_command(kfp: KfpServer, monkeypatch):
    monkeypatch.setenv("KFP_ENDPOINT", kfp.uri)
    assert connect(ClusterConfig()).uri == kfp.uri
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:1")
    assert connect(ClusterConfig(kfp_uri=kfp.uri)).uri == kfp.uri


def test_without_an_address_and_a_cluster_it_says_what_to_set():
    with pytest.raises(ServiceError, match=r"no address of Kubeflow Pipelines is known, and no cluster\n.*KFP_END"):
        connect(ClusterConfig())


@pytest.mark.parametrize("text", ["{a: [", "just words"])
def test_a_kubeconfig_that_is_none_is_no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str):
    (tmp_path / "config").write_text(text)
    use_kubeconfig(monkeypatch, tmp_path / "config")
    with pytest.raises(ServiceError, match=r"and no cluster\n.*KFP_ENDPOINT.*\n  The kubeconfig gives none: ."):
        connect(ClusterConfig())


def test_without_an_address_it_looks_in_the_cluster_of_the_kubeconfig(pods: ClusterServer):
    with pytest.raises(
        ServiceError, match=r"the cluster that we see has none in the namespace kubeflow\n.*cluster.kfp_uri"
    ):
        connect(ClusterConfig())


def test_a_server_that_is_down_is_said_at_once_with_what_to_do(api: KfpApi):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(
        Unreachable, match=f"at {uri} does not answer: Connection refused\n(.*\n)*.*port-forward"
    ) as error:
        connect(ClusterConfig(kfp_uri=uri))
    assert time.monotonic() - started < 3.0
    assert error.value.exit_code == 2


def test_a_name_that_is_none_is_said(monkeypatch):
    with pytest.raises(Unreachable, match=r"kfp.invalid:8888 does not answer: .*(not known|resolution)"):
        connect(ClusterConfig(kfp_uri="http://kfp.invalid:8888"))


def test_a_server_that_never_answers_is_not_waited_for_longer_than_configured(kfp: KfpServer, api: KfpApi):
    kfp.delay_seconds = 2.0
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"does not answer: no answer within 0\.3 s"):
        connect(ClusterConfig(kfp_uri=kfp.uri, timeout_seconds=0.3))
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b'{"code":16,"message":"Unauthenticated: token expired"}',
         "refuses: 401 Unauthorized: Unauthenticated: token expired\n.*has expired: set KFP_EXISTING_TOKEN"),
        (401, b"Jwt is expired", "refuses: 401 Unauthorized: Jwt is expired\n"),
        (403, b"RBAC: access denied", "refuses: 403 Forbidden: RBAC: access denied\n.*the right to do this"),
        (502, LOGIN, "refuses: 502 Bad Gateway$"),
        (404, b"404 page not found", "refuses: 404 Not Found: 404 page not found"),
    ],
)  # fmt: skip
def test_a_refusal_keeps_the_servers_status_and_words(kfp: KfpServer, status: int, body: bytes, message: str):
    kfp.answers = (status, "text/plain", body)
    with pytest.raises(Unreachable if status == 502 else Refused, match=message) as error:
        connect(ClusterConfig(kfp_uri=kfp.uri))
    assert error.value.status == status


def test_a_login_page_is_not_taken_for_an_empty_answer(kfp: KfpServer, api: KfpApi):
    kfp.answers = (200, "text/html; charset=utf-8", LOGIN)
    with pytest.raises(Refused, match=r"answers with text/html, not with the API.*\n.*login page.*\n.*another server"):
        api.recent(5)
    with pytest.raises(Refused, match="answers with text/html"):
        connect(ClusterConfig(kfp_uri=kfp.uri))


@pytest.mark.parametrize("body", [b"null", b"[1]", b'"yes"', b'{"runs": [', b""])
def test_json_that_is_no_object_is_not_taken_for_the_api(kfp: KfpServer, api: KfpApi, body: bytes):
    kfp.answers = (200, "application/json", body)
    with pytest.raises(Refused, match=r"answers with something else than an object, not with the API"):
        api.recent(5)
    with pytest.raises(Refused, match="not with the API of Kubeflow Pipelines"):
        connect(ClusterConfig(kfp_uri=kfp.uri))


def test_the_token_is_the_kfp_commands_or_a_file_that_is_read_anew_each_time(
    kfp: KfpServer, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "given")
    connect(ClusterConfig(kfp_uri=kfp.uri))
    assert set(kfp.tokens) == {"Bearer given"}
    monkeypatch.delenv("KFP_EXISTING_TOKEN")
    token = tmp_path / "token"
    token.write_text("first\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    kfp.tokens.clear()
    api = connect(ClusterConfig(kfp_uri=kfp.uri))
    token.write_text("second\n")
    api.recent(1)
    assert kfp.tokens == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_token_file_that_is_not_there_is_named(kfp: KfpServer, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"KF_PIPELINES_SA_TOKEN_PATH=.*none cannot be read: No such file"):
        connect(ClusterConfig(kfp_uri=kfp.uri))


def test_where_users_are_kept_apart_a_namespace_is_needed_and_asked_for():
    with KfpServer(multi_user=True) as server:
        with pytest.raises(UserError, match=r"keeps its users apart by namespace\n.*cluster.namespace"):
            connect(ClusterConfig(kfp_uri=server.uri))
        assert connect(ClusterConfig(kfp_uri=server.uri, namespace="mine")).recent(5) == []


def test_a_run_is_found_by_its_id_or_is_the_newest_of_its_name(kfp: KfpServer, api: KfpApi):
    first, second = kfp.add_run("one", ENDED), kfp.add_run("one", ENDED)
    kfp.add_run("two", ENDED)
    assert api.find("one").id == second.id
    assert api.find(first.id).id == first.id
    assert [run.id for run in api.named("one")] == [second.id, first.id]


def test_of_a_run_that_is_not_there_the_nearest_name_is_told(kfp: KfpServer, api: KfpApi):
    with pytest.raises(UserError, match="has no run pretrian\n  It has no runs at all"):
        api.find("pretrian")
    kfp.add_run("pretrain-3f9a61c2", ENDED)
    with pytest.raises(UserError, match=r"has no run pretrain-3f9a61c\n  Did you mean pretrain-3f9a61c2\?"):
        api.find("pretrain-3f9a61c")
    with pytest.raises(UserError, match=r"has no run 00000000-0000-4000-8000-000000000000\n.*gristmill status"):
        api.find("00000000-0000-4000-8000-000000000000")


def test_all_runs_of_a_name_are_seen_however_many_there_are(kfp: KfpServer, api: KfpApi):
    for _ in range(203):
        kfp.add_run("one", ENDED)
    assert len(api.named("one")) == 203
    assert len(api.recent(7)) == 7


def test_an_end_may_be_asked_for_twice_and_of_what_has_ended(kfp: KfpServer, api: KfpApi):
    run = kfp.add_run("one", [Look("RUNNING")])
    api.terminate(run.id)
    assert run.look.state == "CANCELING"
    api.terminate(run.id)
    assert api.get(run.id).state == "FAILED"
    api.terminate(run.id)
    with pytest.raises(Refused, match="404"):
        api.terminate("none")
