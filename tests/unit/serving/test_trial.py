"""A trial that fails says why in plain words. With a real Triton: tests/integration/test_triton_end.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llm.config import ServingConfig
from llm.errors import ServiceError, UserError
from llm.runs.events import EventLog
from llm.serving.pod.trial import Trial, main
from llm.serving.triton.repository import build
from llm.storage import Recipe, Store


@pytest.fixture
def uri(store: Store, log: EventLog) -> str:
    with store.stage("model", Recipe("export", {})) as stage:
        (stage.path / "onnx-fp32").mkdir()
        (stage.path / "onnx-fp32" / "model.onnx").write_text("graph")
        model = stage.commit()
    return build(ServingConfig(), model, 3, store, log).uri


def test_missing_keys_name_the_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert main(["s3://bucket/x", "gristmill", "--folder", str(tmp_path), "--secret", "s3-keys"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: s3.existingSecret=s3-keys: there is no such Secret in this namespace, or")
    assert "kubectl create secret generic s3-keys --from-literal=AWS_ACCESS_KEY_ID=…" in said


def test_the_reason_is_all_that_a_failed_trial_says(
    uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([f"{uri}x", "gristmill", "--folder", str(tmp_path / "models")]) == 2
    assert capsys.readouterr().err == (
        f"error: there is no product at {uri}x\n  It has no manifest.json, which is written last.\n"
    )


def test_a_model_of_another_name_is_refused_before_triton_starts(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds the model gristmill, not other\n  Set model.name=gristmill"):
        Trial().run(uri, "other", tmp_path / "models")


def ended(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that its own deadline must end; far later we do."""
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)


def test_a_trial_that_takes_too_long_says_what_it_was_at() -> None:
    late = ended(
        "import time; from llm.serving.pod.trial import Trial; trial = Trial(); trial.tell('loading gristmill')\n"
        "trial.give_up_after(1); time.sleep(600)"
    )
    assert late.returncode == ServiceError.exit_code
    assert late.stderr == (
        "error: the trial was not done after 1 s; it was at: loading gristmill\n"
        "  For a larger model or a slower store: trial.timeoutSeconds, and `helm … --timeout` above 1.5 times that.\n"
    )


STUCK = """
import os, signal, subprocess, sys, threading
from llm.process.children import dying_with_this_process
from llm.serving.pod import fetch
from llm.serving.pod import trial

class Stuck:
    def fetch(self, entry, into):
        os.kill(os.getpid(), signal.SIGALRM)  # the deadline, while downloads run
        threading.Event().wait()

fetch.open_objects = lambda uri: Stuck()
triton = subprocess.Popen(["sleep", "600"], preexec_fn=dying_with_this_process())  # holds our standard error open
trial.main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux only")
def test_downloads_that_hang_do_not_outlive_the_deadline_and_neither_does_triton(uri: str, tmp_path: Path) -> None:
    late = ended(STUCK, uri, "gristmill", "--folder", str(tmp_path / "models"))
    assert late.returncode == ServiceError.exit_code
    assert late.stderr.startswith("error: the trial was not done after 180 s; it was at: fetching 4 files, ")
