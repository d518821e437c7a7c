"""A child of ours finds our package and its own libraries, and nothing of the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm.process.environment import PACKAGES, of_a_child


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files that have the names of modules."""
    for name in ("random.py", "tokenize.py", "llm/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('the working directory was imported')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_child_imports_nothing_of_its_working_directory(planted: Path):
    code = "import random, tokenize, llm; print(llm.__file__)"
    (planted / "asked").mkdir()
    for command in (["-c", code], ["-m", "llm.process.environment"]):
        ended = subprocess.run(
            [sys.executable, *command], env=of_a_child(), capture_output=True, text=True, timeout=60, cwd=planted
        )
        assert (ended.returncode, ended.stderr) == (0, "")
    assert not of_a_child().get("PYTHONPATH", "").endswith(os.pathsep), "an empty place is the working directory"


def test_the_readers_own_path_is_kept_behind_our_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", f"/mine{os.pathsep}")
    assert of_a_child()["PYTHONPATH"].split(os.pathsep) == [str(PACKAGES), "/mine"]


def test_an_installed_package_needs_no_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(PACKAGES))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert "PYTHONPATH" not in of_a_child()


def test_options_of_a_torchrun_are_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PET_NNODES", "2")
    monkeypatch.setenv("PETS", "a cat")
    assert "PET_NNODES" not in of_a_child()
    assert of_a_child()["PETS"] == "a cat"
