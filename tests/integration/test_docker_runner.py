"""The whole path with every step in its container: the same products as with subprocesses, and nobody left behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.images import OF_STEPS, built, unbuilt
from llm.runs import RunFolder, last_attempt
from llm.runs.event_kinds import RunFinished, RunStarted
from llm.runs.events import EventLog
from llm.steps import STEPS
from tests.integration.test_pretrain import PATIENCE_SECONDS, SMALL, STEPS_OF_TRAINING, manifest, steps_trained

GONE_SECONDS = 30


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no docker daemon answers")
    if (reason := unbuilt(OF_STEPS)) is not None:
        pytest.skip(f"{reason}: `make images` builds them")
    there = docker("images", "--no-trunc", "--format", "{{.ID}}").splitlines()
    if lost := [name for name in OF_STEPS if built()[name].id not in there]:
        pytest.skip(f"docker has lost the images {', '.join(lost)}: `make images` builds them")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that lie outside of any Python: the standard library of an image is not that of this machine."""
    folder = tmp_path_factory.mktemp("texts")
    for path in Path(sysconfig.get_path("stdlib")).glob("[a-e]*.py"):
        shutil.copy(path, folder)
    return folder


def command(folder: Path, texts: Path, runner: str, *overrides: str) -> list[str]:
    places = [f"data.path={texts}", f"storage.uri={folder / 'store'}", f"run.folder={folder / 'runs'}"]
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    return [sys.executable, "-c", script, "run", "pretrain", "--runner", runner, *SMALL, *places, *overrides]


def run(folder: Path, texts: Path, runner: str) -> tuple[subprocess.CompletedProcess[str], RunFolder]:
    ended = subprocess.run(command(folder, texts, runner), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    (run,) = (folder / "runs").glob("pretrain-*")
    return ended, RunFolder(run)


def containers(folder: Path) -> list[str]:
    """Containers of the only run in a folder."""
    (run,) = (folder / "runs").glob("pretrain-*")
    return docker("ps", "--all", "--quiet", "--filter", f"label=io.gristmill.run={run}").split()


def is_gone(folder: Path) -> bool:
    """Whether no container of the run is left, after some patience."""
    deadline = time.monotonic() + GONE_SECONDS
    while containers(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.fixture(scope="module")
def in_containers(tmp_path_factory: pytest.TempPathFactory, texts: Path):
    return run(tmp_path_factory.mktemp("docker"), texts, "docker")


@pytest.fixture(scope="module")
def in_subprocesses(tmp_path_factory: pytest.TempPathFactory, texts: Path):
    return run(tmp_path_factory.mktemp("subprocess"), texts, "subprocess")


def test_text_becomes_a_champion(in_containers):
    ended, folder = in_containers
    assert ended.returncode == 0, ended.stderr
    assert manifest(folder, "promote").uri.endswith("@champion")
    assert "</html>" in folder.report.read_text()


def test_every_product_is_the_one_that_subprocesses_make(in_containers, in_subprocesses):
    assert in_subprocesses[0].returncode == 0, in_subprocesses[0].stderr
    ids = [{step: manifest(folder, step).id for step in STEPS} for _, folder in (in_containers, in_subprocesses)]
    assert ids[0] == ids[1]


def test_the_log_says_in_which_images_the_steps_ran(in_containers):
    (started,) = EventLog(in_containers[1].events).of_kind(RunStarted)
    assert started.runner == "docker"
    assert started.images == {name: built()[name].id for name in OF_STEPS}


def test_the_versions_of_the_images_are_told_too(in_containers):
    inside = docker(
        "run", "--rm", built()["train"].id, "python3", "-c", "import platform; print(platform.python_version())"
    )
    assert inside.strip() in last_attempt(in_containers[1].events).versions["python"].split(", ")


def test_memory_of_containers_is_counted(in_containers):
    (finished,) = EventLog(in_containers[1].events).of_kind(RunFinished)
    assert finished.peak_memory_bytes > 500e6, "two ranks with torch take more than this process alone"


def test_no_container_is_left(in_containers):
    assert containers(in_containers[1].path.parents[1]) == []


@pytest.fixture
def training(tmp_path: Path, texts: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in containers that has begun to train."""
    process = subprocess.Popen(
        command(tmp_path, texts, "docker"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not steps_trained(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield process
    process.kill()
    process.communicate()


def test_a_stop_reaches_the_step_which_saves_and_the_run_ends_with_75(training: subprocess.Popen[str], tmp_path: Path):
    training.send_signal(signal.SIGTERM)
    _, errors = training.communicate(timeout=PATIENCE_SECONDS)
    assert training.returncode == (75 if steps_trained(tmp_path)[-1] < STEPS_OF_TRAINING else 0), errors
    assert list(tmp_path.glob("runs/*/report.html"))
    assert is_gone(tmp_path)


def test_a_container_does_not_outlive_a_runner_that_was_killed(training: subprocess.Popen[str], tmp_path: Path):
    assert containers(tmp_path)
    training.kill()
    assert is_gone(tmp_path)
    assert steps_trained(tmp_path)[-1] < STEPS_OF_TRAINING
