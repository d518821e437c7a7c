"""The whole path with every step in its container: the same products as with subprocesses, and nobody left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.images import OF_STEPS, built, unbuilt
from llm.runs import last_attempt
from llm.runs.event_kinds import RunFinished, RunStarted, StepFinished
from llm.runs.events import EventLog
from llm.steps import STEPS
from tests.cases.pretrain import PATIENCE_SECONDS, STEPS_OF_TRAINING, Place, Run

GONE_SECONDS = 30
IN_CONTAINERS = ("--runner", "docker")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session", autouse=True)
def images() -> None:
    """Skip before `ids_of_first`, a fixture of the session too, makes a whole run for nothing."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no docker daemon answers")
    if (reason := unbuilt(OF_STEPS)) is not None:
        pytest.skip(f"{reason}: `make images` builds them")
    there = docker("images", "--no-trunc", "--format", "{{.ID}}").splitlines()
    if lost := [name for name in OF_STEPS if built()[name].id not in there]:
        pytest.skip(f"docker has lost the images {', '.join(lost)}: `make images` builds them")


def containers(place: Place) -> list[str]:
    """Containers of the only run in a place."""
    return docker("ps", "--all", "--quiet", "--filter", f"label=io.gristmill.run={place.only_run.path}").split()


def is_gone(place: Place) -> bool:
    """Whether no container of the run is left, after some patience."""
    deadline = time.monotonic() + GONE_SECONDS
    while containers(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.fixture(scope="module")
def docked(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Place:
    """A place whose runs are in containers."""
    return Place(tmp_path_factory.mktemp("docker"), texts)


@pytest.fixture(scope="module")
def in_containers(docked: Place) -> Run:
    return docked.run(*IN_CONTAINERS)


def test_text_becomes_a_champion(in_containers):
    ended, folder = in_containers
    assert ended.returncode == 0, ended.stderr
    assert folder.manifest("promote").uri.endswith("@champion")
    assert "</html>" in folder.report.read_text()


def test_every_product_is_the_one_that_subprocesses_make(in_containers, ids_of_first: dict[str, str]):
    assert {step: in_containers[1].manifest(step).id for step in STEPS} == ids_of_first


def test_the_log_says_in_which_images_the_steps_ran(in_containers):
    (started,) = EventLog(in_containers[1].events).of_kind(RunStarted)
    assert started.runner == "docker"
    assert started.images == {name: built()[name].id for name in OF_STEPS}


def test_the_versions_of_the_images_are_told_too(in_containers):
    inside = docker(
        "run", "--rm", built()["train"].id, "python3", "-c", "import platform; print(platform.python_version())"
    )
    assert inside.strip() in last_attempt(in_containers[1].events).versions["python"].split(", ")


def test_in_its_image_the_search_of_a_cluster_finds_what_all_the_images_made(in_containers, docked: Place):
    """It computes the recipes of steps that need other libraries, in an image that lacks them."""
    folder = in_containers[1]
    script = "import sys; from llm.steps import reuse_component; print(reuse_component(sys.argv[1], 'pretrain'))"
    said = docker(
        "run", "--rm", "--network=none", f"--user={os.getuid()}:{os.getgid()}",
        f"--volume={docked.folder}:{docked.folder}", f"--volume={docked.texts}:{docked.texts}:ro",
        built()["train"].id, "python3", "-c", script, folder.config.read_text(),
    )  # fmt: skip
    assert said == "0"
    last = EventLog(folder.events).of_kind(StepFinished)[-len(STEPS) :]
    assert [event.step for event in last] == list(STEPS)
    assert {event.step for event in last if not event.reused} == {"gate", "register", "promote"}


def test_memory_of_containers_is_counted(in_containers):
    (finished,) = EventLog(in_containers[1].events).of_kind(RunFinished)
    assert finished.peak_memory_bytes > 500e6, "two ranks with torch take more than this process alone"


def test_no_container_is_left(in_containers, docked: Place):
    assert containers(docked) == []


@pytest.fixture
def own_place(tmp_path: Path, texts: Path) -> Place:
    """A place of this test alone."""
    return Place(tmp_path, texts)


@pytest.fixture
def training(own_place: Place) -> Iterator[subprocess.Popen[str]]:
    """A run in containers that has begun to train."""
    command = own_place.command(*IN_CONTAINERS)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    own_place.wait_for_a_step(process)
    yield process
    process.kill()
    process.communicate()


def test_a_stop_reaches_the_step_which_saves_and_the_run_ends_with_75(
    training: subprocess.Popen[str], own_place: Place
):
    training.send_signal(signal.SIGTERM)
    _, errors = training.communicate(timeout=PATIENCE_SECONDS)
    assert training.returncode == (75 if own_place.steps_trained()[-1] < STEPS_OF_TRAINING else 0), errors
    assert own_place.only_run.report.is_file()
    assert is_gone(own_place)


def test_a_container_does_not_outlive_a_runner_that_was_killed(training: subprocess.Popen[str], own_place: Place):
    assert containers(own_place)
    training.kill()
    assert is_gone(own_place)
