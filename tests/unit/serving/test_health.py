"""A Triton lives if it says so and its model's process is there. More: tests/integration/test_triton_end.py."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llm.serving.pod.health import STUB, main, model_process_lives, not_live

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def test_a_models_process_is_known_by_its_name_and_its_parent(tmp_path: Path) -> None:
    assert not model_process_lives(os.getpid())
    stub = shutil.copy(shutil.which("sleep") or "", tmp_path / "triton_python_backend_stub")
    with subprocess.Popen([stub, "60"]) as process:
        assert model_process_lives(os.getpid())
        assert not model_process_lives(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and its remains still there
        assert f"({STUB}) Z" in Path(f"/proc/{process.pid}/stat").read_text()
        assert not model_process_lives(os.getpid())


def test_no_answer_is_no_life(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not_live(port) == "Triton does not answer: [Errno 111] Connection refused"
    assert main(["--port", str(port), "--triton", str(os.getpid())]) == 1
    assert capsys.readouterr().err == "the model's process has died\n"
