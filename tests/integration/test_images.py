"""The built images, each run as a pod runs it: no network, a root that cannot be written, a user that nobody knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from llm import __version__
from llm.images import NAMES, built

PROJECT = Path(__file__).parents[2]
DESCRIBED = tomllib.loads((PROJECT / "images" / "images.toml").read_text())
AS_A_POD = ("--rm", "--read-only", "--user=12345:12345", "--tmpfs=/tmp", "--network=none")
INSTALLED = (
    "import json; from importlib.metadata import *; print(json.dumps({d.name: d.version for d in distributions()}))"
)

LACKING = """
import re
from importlib.metadata import distributions
for one in distributions():
    for file in one.files or ():
        taken_out = re.search("/tests?/|/include/|torch/bin/|python_backend_stubs|[.]pyc$", str(file))
        if not taken_out and str(file).startswith(one.name.replace("-", "_") + "/") and not file.locate().exists():
            print(file)
"""
"""What a distribution installed and the image lacks, without what images/slim takes out."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return _built(request.param)


@pytest.fixture
def triton() -> str:
    return _built("triton")


def _built(name: str) -> str:
    """The name, if the image is there."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no docker daemon answers")
    if name not in built():
        pytest.skip(f"the image {name} was not built: `make images` builds it")
    if subprocess.run(["docker", "image", "inspect", built()[name].id], capture_output=True).returncode:
        pytest.skip(f"docker has lost the image {name}: `make images` builds it")
    return name


def in_image(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "run", *AS_A_POD, built()[name].id, *command], capture_output=True, text=True)


def config(name: str) -> dict[str, Any]:
    shown = subprocess.run(["docker", "image", "inspect", built()[name].id], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(shown.stdout)[0]["Config"]
    return found


def test_it_runs_as_a_number_and_says_what_it_is(name: str):
    assert config(name)["User"] == "1000:1000"
    labels = {key.removeprefix("org.opencontainers.image."): text for key, text in config(name)["Labels"].items()}
    assert labels["title"] == DESCRIBED[name]["title"]
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["revision"]
    assert labels["base.name"]


def test_what_its_steps_import_is_there(name: str):
    imports = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    ended = in_image(name, "python3", "-c", imports, *DESCRIBED[name]["imports"], "llm.config", "llm.storage")
    assert ended.returncode == 0, ended.stderr


def test_its_command_line_answers(name: str):
    ended = in_image(name, "gristmill", "--help")
    assert ended.returncode == 0, ended.stderr
    assert "Raw text to a served language model" in ended.stdout


def test_every_library_is_whole(name: str):
    assert in_image(name, "python3", "-c", LACKING).stdout.splitlines() == []


def test_it_holds_what_its_lock_pins_and_nothing_else(name: str):
    answer = json.loads(in_image(name, "python3", "-c", INSTALLED).stdout)
    installed = {_normal(distribution): version for distribution, version in answer.items()}
    lock = (PROJECT / "images" / name / "requirements.txt").read_text().splitlines()
    pins = {_normal(line.split("==")[0]): line.split("==")[1] for line in lock if not line.startswith("#")}
    assert {one: installed[one].partition("+")[0] for one in pins} == pins
    if installed.get("torch", "+cpu").endswith("+cpu"):  # else torch itself asks for CUDA's libraries
        assert installed.keys() == pins.keys()


def _normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


def test_nothing_to_build_with_and_nothing_to_build_from_is_left(name: str):
    script = (
        "command -v gcc cc c++ pip; find / -xdev -name .git -o -xdev -path '*/.cache/pip'"
        " -o -xdev -path '/opt/gristmill/src/*' -name 'test_*.py' 2>/dev/null"
    )
    assert in_image(name, "sh", "-c", f"{{ {script}; }} | grep -v '^/usr/.*bin/pip'").stdout == ""


def test_our_sources_are_compiled(name: str):
    script = "import llm.cli, pathlib; print(pathlib.Path(llm.cli.__cached__).is_file())"
    assert in_image(name, "python3", "-c", script).stdout == "True\n"


def test_triton_starts_with_its_tiny_model_and_answers(triton: str):
    script = """
tritonserver --model-repository=/opt/gristmill/tiny-model --model-control-mode=explicit --load-model=gristmill \
  --disable-auto-complete-config --http-port=8000 >/tmp/log 2>&1 &
python3 - <<'END'
import json, time, urllib.request
body = json.dumps({"text_input": "Licensed under the", "max_tokens": 8, "temperature": 0}).encode()
for _ in range(600):
    try:
        answer = urllib.request.urlopen("http://127.0.0.1:8000/v2/models/gristmill/generate_stream", body, 30)
        events = [json.loads(line[6:]) for line in answer if line.startswith(b"data: ")]
        print(len(events), events[-1]["final"])
        break
    except OSError:
        time.sleep(0.1)
END
cat /tmp/log >&2
"""
    ended = in_image(triton, "sh", "-c", script)
    assert ended.stdout == "8 True\n", ended.stderr
