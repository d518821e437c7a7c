from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm import registry
from llm.cli.serve import command as serve
from llm.errors import ServiceError, UserError
from llm.runs.events import EventLog
from llm.serving.triton.endpoints import free_endpoints
from llm.serving.triton.installation import VARIABLE, Installation, find_installation
from llm.serving.triton.server import TritonServer
from llm.storage import Recipe, Store
from llm.telemetry import OFF


def _installation(root: Path, program: str) -> Installation:
    """An installation whose tritonserver is a shell script."""
    server = root / "lib" / "python3.11" / "site-packages" / "pytriton" / "tritonserver"
    (server / "backends" / "python").mkdir(parents=True)
    (server / "backends" / "python" / "triton_python_backend_stub").touch()
    (server / "bin").mkdir()
    (server / "bin" / "tritonserver").write_text(f"#!/bin/sh\n{program}\n")
    (server / "bin" / "tritonserver").chmod(0o755)
    (root / "bin").mkdir()
    (root / "bin" / "python").symlink_to(sys.executable)
    return Installation(root, server)


def test_a_missing_triton_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=r"Triton is not installed: there is none in .*\n.*`make triton` installs it"):
        find_installation()


def test_a_half_made_installation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = _installation(tmp_path, "true")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert find_installation() == installation
    (installation.server / "backends" / "python" / "triton_python_backend_stub").unlink()
    with pytest.raises(UserError, match="incomplete: its Python backend has no stub"):
        find_installation()


def test_triton_gets_neither_our_python_nor_the_keys_of_the_store_and_reports_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    for name in ("AWS_SECRET_ACCESS_KEY", "PYTHONSTARTUP", "VIRTUAL_ENV", "GRISTMILL_CPUS"):
        monkeypatch.setenv(name, "3")
    environment = _installation(tmp_path, "true").environment()
    assert environment["GRISTMILL_CPUS"] == "3"
    assert environment.items() >= OFF.items()
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONSTARTUP", "VIRTUAL_ENV"} & set(environment)


def test_the_options_of_serve_say_where_triton_listens(
    tmp_path: Path, store: Store, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.stage("model", Recipe("export", {})) as stage:
        (stage.path / "onnx-fp32").mkdir()
        (stage.path / "onnx-fp32" / "model.onnx").write_text("graph")
        model = stage.commit()
    monkeypatch.setattr(registry, "champion", lambda *_: SimpleNamespace(model=model, version="1"))
    _installation(tmp_path / "triton", f'echo "$@" > {tmp_path}/arguments; exit 3')
    monkeypatch.setenv(VARIABLE, str(tmp_path / "triton"))
    endpoints = free_endpoints()
    options = [f"--{kind}-port={port}" for kind, port in endpoints.ports.items()]
    with pytest.raises(ServiceError, match="Triton ended with 3"):
        serve.main([f"storage.uri={store.root}", "--address=127.0.0.2", *options], standalone_mode=False)
    said = (tmp_path / "arguments").read_text().split()
    assert {*options, *(f"--{kind}-address=127.0.0.2" for kind in endpoints.ports)} <= set(said)


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    endpoints = free_endpoints()
    server = TritonServer(_installation(tmp_path, f"touch {tmp_path}/started"), tmp_path, endpoints)
    message = rf"port {endpoints.grpc_port} of 127.0.0.1 .* Triton's grpc: .*in use\n.*--grpc-port"
    with socket.create_server(("127.0.0.1", endpoints.grpc_port)), pytest.raises(UserError, match=message):
        server.start()
    assert not (tmp_path / "started").exists()


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    installation = _installation(tmp_path, "echo no such backend; exit 3")
    server = TritonServer(installation, tmp_path, free_endpoints())
    with pytest.raises(ServiceError, match=r"Triton ended with 3 before it was ready\n  no such backend"):
        server.start()


def test_a_server_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    server = TritonServer(_installation(tmp_path, "true"), tmp_path, free_endpoints())
    with pytest.raises(ServiceError, match=r"Triton at http://127.0.0.1:\d+ does not answer"):
        server.load("gristmill")
