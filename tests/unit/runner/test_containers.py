"""What keeps steps from running in containers is said before the first; what they are given is what they need."""

import json
import os
import platform
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kfp import dsl

from llm.config import compose
from llm.errors import ServiceError, UserError
from llm.images import SOURCES, Image, fingerprint, record
from llm.runner.containers import PASSED_ON, Containers
from llm.runs.folder import RunFolder

ID = f"sha256:{'1' * 64}"
REFERENCE = "gristmill/train:0.1.0"


@dsl.component(base_image=f"gristmill/train@sha256:{'d' * 64}", install_kfp_package=False)
def step(config: str) -> None:
    """Do nothing."""


@dsl.component(base_image="other/image:2", install_kfp_package=False)
def strange(config: str) -> None:
    """Do nothing, in an image that is not ours."""


@dsl.pipeline(name="two")
def two(config: str) -> None:
    step(config=config)
    strange(config=config)


class Daemon(BaseHTTPRequestHandler):
    """As much of docker's API as a check asks for."""

    kernel: ClassVar[str] = os.uname().release
    images: ClassVar[dict[str, str]] = {REFERENCE: ID}

    def do_GET(self) -> None:
        path = self.path.split("/", 2)[2] if self.path.startswith("/v1") else self.path.lstrip("/")
        if path == "version":
            self._answer({"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        elif path == "info":
            self._answer({"KernelVersion": self.kernel})
        elif path.startswith("images/") and (name := path.removeprefix("images/").removesuffix("/json")) in self.images:
            self._answer({"Id": self.images[name], "RepoTags": [name]})
        else:
            self._answer({"message": f"No such image: {path}"}, 404)

    def _answer(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Daemon]]:
    handler = type("Handler", (Daemon,), {"images": dict(Daemon.images)})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project whose image was built."""
    for name in (*SOURCES, "build"):
        (tmp_path / name).mkdir()
    record({"train": Image(REFERENCE, ID, f"sha256:{'d' * 64}", 1, None, fingerprint(tmp_path))}, tmp_path)
    return tmp_path


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    return [f"run.folder={tmp_path / 'runs'}", f"storage.uri={tmp_path / 'store'}", f"data.path={tmp_path / 'texts'}"]


def test_a_daemon_with_the_images_of_this_tree_will_do(daemon, tree: Path, arguments: list[str]):
    assert Containers(tree).check(two, compose(arguments)) == []


def test_a_daemon_that_does_not_answer_is_said(tree: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(ServiceError, match="docker's daemon does not answer"):
        Containers(tree).check(two, compose(arguments))


def test_a_daemon_on_another_machine_is_refused(daemon, tree: Path, arguments: list[str]):
    daemon.kernel = "6.1-elsewhere"
    with pytest.raises(UserError, match=f"kernel 6.1-elsewhere, here {re.escape(platform.release())}"):
        Containers(tree).check(two, compose(arguments))


def test_images_that_were_not_built_are_asked_for(daemon, tree: Path, arguments: list[str]):
    (tree / "build" / "images.json").unlink()
    with pytest.raises(UserError, match="the image train was not built\n  Run `make images`"):
        Containers(tree).check(two, compose(arguments))


def test_images_of_other_sources_are_refused(daemon, tree: Path, arguments: list[str]):
    (tree / "llm" / "new.py").write_text("new")
    with pytest.raises(UserError, match="the image train was not built from the sources that are here now"):
        Containers(tree).check(two, compose(arguments))


@pytest.mark.parametrize(
    ("there", "reason"), [(None, "is not in docker any more"), (f"sha256:{'2' * 64}", "in docker is not the one")]
)
def test_an_image_that_docker_lost_or_replaced_is_refused(daemon, tree: Path, arguments: list[str], there, reason: str):
    daemon.images = {} if there is None else {REFERENCE: there}
    with pytest.raises(UserError, match=f"{REFERENCE} {reason}"):
        Containers(tree).check(two, compose(arguments))


def test_the_images_own_standard_library_is_warned_of(daemon, tree: Path, arguments: list[str]):
    (warning,) = Containers(tree).check(two, compose([*arguments, "data.path=stdlib"]))
    assert "the library of the image's Python" in warning


def test_a_pipeline_names_its_images_by_tag_while_it_runs_and_no_longer(daemon, tree: Path, arguments: list[str]):
    steps = Containers(tree)
    steps.check(two, compose(arguments))

    def images() -> list[str]:
        executors = two.pipeline_spec.deployment_spec["executors"]
        return sorted(executor["container"]["image"] for executor in executors.values())

    before = images()
    with steps.ready(two, compose(arguments), RunFolder(tree / "runs" / "one")):
        assert images() == [REFERENCE, "other/image:2"]
    assert images() == before


def test_a_container_is_the_callers_and_sees_what_is_configured(
    daemon, tree: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("UNRELATED", "value")
    steps = Containers(tree)
    steps.check(two, compose(arguments))
    with steps.ready(two, compose(arguments), RunFolder(tree / "runs" / "one")) as runner:
        given = runner.container_run_args
    assert given["user"] == f"{os.getuid()}:{os.getgid()}"
    assert given["read_only"]
    assert given["pid_mode"] == given["network_mode"] == "host"
    assert {mount["Target"]: mount["ReadOnly"] for mount in given["mounts"]}[str(tree / "texts")] is True
    assert all(mount["Source"] == mount["Target"] for mount in given["mounts"])
    assert set(given["tmpfs"]) == {"/tmp", "/home/somebody"}
    assert given["environment"]["AWS_ACCESS_KEY_ID"] == "key"
    assert given["environment"]["GRISTMILL_TRAIN_IMAGE"] == f"gristmill/train@sha256:{'d' * 64}"
    assert "UNRELATED" not in given["environment"]
    assert given["labels"] == {"io.gristmill.run": str(tree / "runs" / "one")}


def test_a_step_is_kept_to_its_limits_while_the_pipeline_runs_and_no_longer(
    daemon, tree: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
):
    from kfp.local import docker_task_handler as handler

    given: list[dict[str, Any]] = []

    def run(client: Any, image: str, command: list[str], volumes: Any, **limits: Any) -> int:
        given.append(limits)
        return 0

    monkeypatch.setattr(handler, "run_docker_container", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    config = compose([*arguments, "pods.steps.step.memory_limit=6Gi", "pods.steps.strange.cpu_limit=8"])
    steps = Containers(tree)
    steps.check(two, config)
    with steps.ready(two, config, RunFolder(tree / "runs" / "one")):
        for name in ("step", "strange"):
            command = ["sh", "-c", "code", "--executor_input", "{}", "--function_to_execute", name]
            assert handler.run_docker_container(None, "image", command, {}, user="1") == 0
    assert given == [
        {"user": "1", "nano_cpus": 2_000_000_000, "mem_limit": 6 << 30},
        {"user": "1", "mem_limit": 4 << 30},  # docker refuses more processors than there are
    ]
    assert handler.run_docker_container is run


@pytest.mark.parametrize(
    "name", ["AWS_REGION", "MLFLOW_TRACKING_TOKEN", "https_proxy", "TZ", "GRISTMILL_CACHE", "LC_ALL"]
)
def test_what_a_step_reads_is_passed_on(name: str):
    assert PASSED_ON.fullmatch(name)


@pytest.mark.parametrize("name", ["PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SSH_AUTH_SOCK"])
def test_what_is_of_this_machine_stays_here(name: str):
    assert not PASSED_ON.fullmatch(name)
