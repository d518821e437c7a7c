"""The scripts around images say in a line what keeps them from their work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*([sys.executable] if script.endswith(".py") else []), str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_without_a_docker_daemon_nothing_is_built_and_the_remedy_is_named(tmp_path: Path):
    ended = run("make_images.py", DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert ended.returncode == 2
    assert "error: docker's daemon does not answer" in ended.stderr or "error: docker is not installed" in ended.stderr
    assert "start" in ended.stderr.lower()


def test_without_docker_itself_its_package_is_named(tmp_path: Path):
    ended = run("make_images.py", PATH=str(tmp_path))
    assert ended.returncode == 2
    assert "error: docker is not installed\n  Install it (Debian: apt-get install docker.io)" in ended.stderr


@pytest.mark.parametrize("script", ["make_images.py", "load_images.py"])
def test_an_image_that_does_not_exist_is_refused_with_those_that_do(script: str):
    ended = run(script, "training")
    assert ended.returncode == 2
    assert "there is no image training; there are data, train, export, registry, triton" in ended.stderr


def test_without_a_cluster_to_load_into_the_ways_to_name_one_are_told(tmp_path: Path):
    ended = run("load_images.py", "data", GRISTMILL_CONTAINERD="", KUBECONFIG=str(tmp_path / "none"))
    assert ended.returncode == 2
    assert "name the cluster: --kind CLUSTER, or --containerd ADDRESS" in ended.stderr


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first in PATH: its programs write down how they were called, and do what they are told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def program(folder: Path, name: str, line: str = "") -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{folder}/calls"\n{line}\n')
    path.chmod(0o755)


@pytest.mark.parametrize(("fails", "deletes"), [("kind create", 0), ("kubectl apply", 1)])
def test_a_cluster_is_deleted_only_by_who_made_it(programs: Path, fails: str, deletes: int):
    failing, _, verb = fails.partition(" ")
    for name in ("make", "kind", "kubectl"):
        program(programs, name, f"test $1 != {verb}" if name == failing else "")
    assert subprocess.run([SCRIPTS / "ci" / "kind_test"], capture_output=True).returncode == 1
    assert (programs / "calls").read_text().count("kind delete") == deletes


def test_a_base_that_cannot_be_made_says_why(programs: Path):
    program(programs, "docker", "test $1 != image")
    program(programs, "dockerd")
    program(programs, "base-image", "echo error: no Debian here >&2; exit 1")
    ended = run("ci/images", CLUSTER=str(programs), BASE="")
    assert (ended.returncode, ended.stderr) == (1, "error: no Debian here\n")
