"""What is served and exported reports to nobody: no file under HOME, no thread that sends, no connection.

Seen before it was switched off, with onnxruntime 1.32 and onnxruntime-genai 0.18: `import onnxruntime` alone wrote
`.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid`, started a thread, and within seconds that looked up a host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm.serving.engine import decoding
from llm.telemetry import OFF
from tests.cases.export import Case
from tests.cases.helm import Helm

PROJECT = Path(__file__).parents[3]

AS_IN_TRITON = """
import os, sys
sys.path.insert(0, sys.argv[2])   # decoding.py stands there alone, without llm
threads = lambda: set(os.listdir("/proc/self/task"))
import numpy, tokenizers
before = threads()
from pathlib import Path
from decoding import Decoder, Request
assert "llm" not in sys.modules
assert threads() == before, "importing ONNX Runtime started a thread"
class Sink:
    def token(self, text, token, finish_reason): self.reason = finish_reason
    def fail(self, reason): raise SystemExit(reason)
    def cancelled(self): return False
    def close(self): pass
decoder = Decoder(Path(sys.argv[1]), max_slots=1, max_new_tokens=4)
sink = Sink()
decoder.submit(Request("def ", 4), sink)
while getattr(sink, "reason", None) is None and decoder._thread.is_alive():
    decoder._thread.join(0.01)
decoder.stop()
print(sink.reason)
"""

AS_IN_EXPORT = """
import os, sys
threads = lambda: set(os.listdir("/proc/self/task"))
from llm.export.onnx_model import OnnxModel   # and torch, which has threads of its own
assert "onnxruntime" not in sys.modules
before = threads()
import onnxruntime, onnxruntime_genai
assert threads() == before, "importing ONNX Runtime started a thread"
from pathlib import Path
print(OnnxModel(Path(sys.argv[1])).logits([1, 2]).shape[0])
"""


def _alone(
    home: Path, program: str, *arguments: Path, under: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """A Python program with an empty HOME and nothing of our environment."""
    home.mkdir()
    return subprocess.run(
        [*under, sys.executable, "-c", program, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True, text=True, timeout=120, cwd=home,
    )  # fmt: skip


def _below(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def test_a_served_model_leaves_no_file_at_home_and_starts_no_thread_that_sends(case: Case, tmp_path: Path) -> None:
    backend = tmp_path / "backend"
    backend.mkdir()
    shutil.copy(decoding.__file__, backend / "decoding.py")
    done = _alone(tmp_path / "home", AS_IN_TRITON, case.exported.folder / "onnx-fp32", backend)
    assert (done.returncode, done.stdout) == (0, "length\n"), done.stderr
    assert [name for name in _below(tmp_path / "home") if "__pycache__" not in name] == []


def test_an_export_leaves_no_file_at_home_and_starts_no_thread_that_sends(case: Case, tmp_path: Path) -> None:
    done = _alone(
        tmp_path / "home", AS_IN_EXPORT, case.exported.folder / "onnx-fp32", PYTHONPATH=str(PROJECT),
        ORT_DISABLE_TELEMETRY="0",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert _below(tmp_path / "home") == []


def test_a_served_model_opens_no_socket_to_anybody(case: Case, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace, which lists the system calls, is not installed")
    backend, calls = tmp_path / "backend", tmp_path / "calls"
    backend.mkdir()
    shutil.copy(decoding.__file__, backend / "decoding.py")
    strace = ("strace", "-f", "-qq", "-e", "trace=socket,connect,openat", "-o", str(calls))
    onnx = case.exported.folder / "onnx-fp32"
    done = _alone(tmp_path / "home", AS_IN_TRITON, onnx, backend, under=strace)
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    traced = calls.read_text()
    assert "genai_config.json" in traced  # the trace saw the model being opened
    assert re.findall(r".*AF_INET.*|.*resolv\.conf.*|.*DeveloperTools.*", traced) == []


def test_importing_llm_switches_every_report_off_whatever_the_environment_says() -> None:
    program = f"import os, llm; print({{name: os.environ[name] for name in {sorted(OFF)}}})"
    turned_on = dict.fromkeys(OFF, "0")
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **turned_on}, capture_output=True, text=True, timeout=60,
        cwd=PROJECT,
    )  # fmt: skip
    assert done.stdout == f"{ {name: OFF[name] for name in sorted(OFF)} }\n", done.stderr


@pytest.mark.parametrize("dockerfile", ["images/Dockerfile", "images/triton/Dockerfile"])
def test_every_image_sets_the_same_variables(dockerfile: str) -> None:
    text = (PROJECT / dockerfile).read_text(encoding="utf-8")
    (last,) = re.findall(r"^ENV (?:.*\\\n)*.*", text, re.MULTILINE)
    assert {name: value for name, value in re.findall(r"(\w+)=(\S+)", last) if name in OFF} == OFF


@pytest.mark.parametrize("container", ["triton", "trial"])
def test_a_serving_pod_sets_it_for_any_image(container: str) -> None:
    values = Helm("gristmill-serving").documents()
    pods = [each["spec"]["template"]["spec"] for each in values if each["kind"] in ("Deployment", "Job")]
    (found,) = (one for pod in pods for one in pod["containers"] if one["name"] == container)
    assert {"name": "ORT_DISABLE_TELEMETRY", "value": "1"} in found["env"]
