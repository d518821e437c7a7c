from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from llm.config import ServingConfig
from llm.errors import ServiceError, UserError
from llm.serving.triton.installation import VARIABLE, Installation, find_installation
from llm.serving.triton.server import TritonServer
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


def _free_ports() -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))


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


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    ports = _free_ports()
    server = TritonServer(_installation(tmp_path, f"touch {tmp_path}/started"), tmp_path, ServingConfig(**ports))
    message = rf"port {ports['grpc_port']} of 127.0.0.1 .* Triton's grpc: .*in use\n.*serving.grpc_port="
    with socket.create_server(("127.0.0.1", ports["grpc_port"])), pytest.raises(UserError, match=message):
        server.start()
    assert not (tmp_path / "started").exists()


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    installation = _installation(tmp_path, "echo no such backend; exit 3")
    server = TritonServer(installation, tmp_path, ServingConfig(**_free_ports()))
    with pytest.raises(ServiceError, match=r"Triton ended with 3 before it was ready\n  no such backend"):
        server.start()


def test_a_server_that_is_not_there_does_not_answer(tmp_path: Path) -> None:
    server = TritonServer(_installation(tmp_path, "true"), tmp_path, ServingConfig(**_free_ports()))
    with pytest.raises(ServiceError, match=r"Triton at http://127.0.0.1:\d+ does not answer"):
        server.load("gristmill")
