"""The connection: where it leads, what is asked for again, and refusals in plain words."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml

from llm.cluster import api
from llm.cluster.api import connect
from llm.cluster.pod_log import PodLog
from llm.cluster.refusal import Refused, Unreachable, refusal
from llm.cluster.trainjobs.trainjob import manifest
from llm.config import ClusterConfig
from llm.errors import ServiceError, UserError
from tests.fakes.cluster_server import ClusterServer
from tests.unit.cluster.conftest import IMAGE, SPEC

ACCOUNT = "system:serviceaccount:ml:gristmill-data"


def change(path: Path, key: str, **values: object) -> None:
    document = yaml.safe_load(path.read_text())
    document[key][0][key.removesuffix("s")] |= values
    path.write_text(yaml.safe_dump(document))


@pytest.fixture
def cluster() -> Iterator[ClusterServer]:
    with ClusterServer() as server:
        yield server


@pytest.fixture
def kubeconfig(cluster: ClusterServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = cluster.kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.mark.parametrize(
    ("configured", "in_context", "namespace"), [("mine", "ml", "mine"), (None, "ml", "ml"), (None, None, "default")]
)
def test_the_namespace_is_the_configured_one_or_the_kubeconfigs(
    kubeconfig: Path, configured: str | None, in_context: str | None, namespace: str
):
    change(kubeconfig, "contexts", namespace=in_context)
    with closing(connect(ClusterConfig(namespace=configured))) as connection:
        assert connection.namespace == namespace


def test_an_expired_token_is_told_with_what_to_do(kubeconfig: Path, cluster: ClusterServer):
    change(kubeconfig, "users", token="old")
    with pytest.raises(Refused, match=rf"401 Unauthorized\n.*expired or not those of {cluster.url}\.\n  Renew them"):
        connect(ClusterConfig())
    assert len(cluster.requests) == 1, "a refusal is final"


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        (
            f'trainjobs.trainer.kubeflow.org is forbidden: User "{ACCOUNT}" cannot create resource "trainjobs" in API'
            ' group "trainer.kubeflow.org" in the namespace "ml"',
            "service account ml/gristmill-data may not create trainjobs.trainer.kubeflow.org in namespace ml\n"
            "  An administrator grants it with the chart gristmill-platform in that namespace: rbac.train=true",
        ),
        (
            'pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "ml"',
            "eve may not list pods in namespace ml\n  An administrator grants it with the chart gristmill-platform",
        ),
        (
            'secrets "s3" is forbidden: User "eve" cannot get resource "secrets" in API group "" in the namespace "ml"',
            "eve may not get secrets in namespace ml\n  An administrator grants it with a Role and a RoleBinding",
        ),
        ('admission webhook "x" denied the request: because', 'admission webhook "x" denied the request: because'),
    ],
)
def test_403_says_who_may_not_do_what_and_how_it_is_granted(said: str, lines: str):
    error = refusal("create TrainJob ml/x", "https://k", 403, "Forbidden", json.dumps({"message": said}))
    assert str(error).startswith(f"the cluster refused to create TrainJob ml/x: 403 Forbidden\n  {lines}")


def test_an_answer_that_is_no_json_is_quoted():
    error = refusal("read pod ml/x", "https://k", 404, "Not Found", "404 page\nnot found\n")
    assert str(error) == "the cluster refused to read pod ml/x: 404 Not Found\n  404 page not found"


@pytest.mark.parametrize("answered", ["<!doctype html>\n<title>Log in</title>", ""])
def test_a_login_page_is_not_taken_for_the_cluster(kubeconfig: Path, cluster: ClusterServer, answered: str):
    cluster.objects["/version"] = answered
    words = " ".join(answered.split())
    told = f"{cluster.url} does not answer as a Kubernetes API server, but: {words}\n  The address is .* {kubeconfig}"
    with pytest.raises(ServiceError, match=told):
        connect(ClusterConfig())
    assert len(cluster.requests) == 1, "it would answer so again"


def test_a_server_that_is_not_there_is_named_with_where_its_address_came_from(kubeconfig: Path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    change(kubeconfig, "clusters", server=url)
    with pytest.raises(Unreachable, match=rf"API server at {url} does not answer: Connection refused\n.*{kubeconfig}"):
        connect(ClusterConfig(timeout_seconds=0.2))


def test_a_name_that_does_not_resolve_is_told(kubeconfig: Path):
    change(kubeconfig, "clusters", server="http://cluster.invalid:6443")
    with pytest.raises(Unreachable, match=r"cluster\.invalid:6443 does not answer: .*[Nn]ame"):
        connect(ClusterConfig(timeout_seconds=0.2))


def test_a_server_that_is_silent_is_given_up_in_time(kubeconfig: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        change(kubeconfig, "clusters", server=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"does not answer: no answer within 0\.2 s"):
            connect(ClusterConfig(timeout_seconds=0.2))


def test_a_server_whose_certificate_is_not_trusted_is_not_asked_again(kubeconfig: Path, tmp_path: Path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert",
         "-subj", "/CN=x"], cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    accepted = 0

    def serve() -> None:
        nonlocal accepted
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            accepted += 1
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        change(kubeconfig, "clusters", server=f"https://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ServiceError, match=r"cannot be trusted: .*CERTIFICATE_VERIFY_FAILED.*\n.*authority"):
            connect(ClusterConfig(timeout_seconds=5))
        assert accepted == 1
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No configuration found"),
        ("just words", "gives no cluster"),
        ("{a: [", "gives no cluster"),
        ("apiVersion: v1\nkind: Config\ncontexts: []\n", "current-context"),
    ],
)
def test_a_kubeconfig_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
):
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(
        UserError, match=rf"kubeconfig {path} gives no cluster: .*\n  Set KUBECONFIG to a file"
    ) as raised:
        connect(ClusterConfig())
    assert reason in str(raised.value)


def test_a_pod_speaks_to_its_own_cluster_unless_a_kubeconfig_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "ACCOUNT_FOLDER", tmp_path)
    (tmp_path / "token").write_text("x")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UserError, match="this pod cannot speak to its cluster: Service host/port is not set"):
        connect(ClusterConfig())


def test_a_log_comes_over_http_as_it_is_written_and_ends_when_another_thread_hangs_up(
    kubeconfig: Path, cluster: ClusterServer
):
    training = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    training.run_pods()
    training.say("one")
    with closing(connect(ClusterConfig())) as connection:
        log = PodLog(connection, "ml", training.pod(0), "node")
        lines = log.new_lines(follow=True)
        assert next(lines) == "one"
        training.say("two")
        assert next(lines) == "two"
        threading.Timer(0, log.hang_up).start()
        with pytest.raises((Unreachable, StopIteration)):
            next(lines)


def test_a_request_of_another_thread_or_of_a_signal_has_connections_of_its_own(
    kubeconfig: Path, cluster: ClusterServer
):
    with closing(connect(ClusterConfig())) as connection:
        other = connection.new_connection(1.0, "other")
        connection.close()
        assert other.get("/version", "tell its version")
        assert (other.namespace, other.patience_seconds, other.source) == ("other", 0, connection.source)
        other.close()


def test_the_kubernetes_package_is_imported_by_nobody_who_does_not_connect():
    code = (
        "import sys, llm.cluster.trainjobs.run_trainjob, llm.cluster.trainjobs.delete, llm.cluster.pipelines.submit;"
        "print([name for name in sys.modules if name in ('kubernetes', 'urllib3', 'torch', 'kfp')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
