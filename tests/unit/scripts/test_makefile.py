"""What `make` hands to the commands is what was written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def made(tmp_path: Path):
    """Run `make pretrain` with a `gristmill` that only writes down its arguments."""
    told = tmp_path / "arguments"
    command = tmp_path / "gristmill"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{told}"\n')
    command.chmod(0o755)

    def run(*settings: str, **environment: str) -> list[str]:
        arguments = ["make", "--silent", "--old-file=.venv/.ready", "pretrain", f"BIN={tmp_path}", *settings]
        variables = {"PATH": "/usr/bin:/bin", **environment}
        done = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, env=variables, timeout=60)
        assert done.returncode == 0, done.stderr
        return told.read_text().splitlines()

    return run


@pytest.mark.parametrize(
    "path",
    ["texts", "two words", "it's", 'a "quoted" name', "cost$5", "$HOME", "$(shell id)", "a`b`", "back\\slash", "*.txt"],
)
def test_a_path_reaches_the_command_as_it_was_written(made, path: str) -> None:
    assert made(f"DATA={path}") == ["run", "pretrain", f"data.path={path}"]
    assert made(DATA=path) == ["run", "pretrain", f"data.path={path}"]


def test_without_settings_there_are_none(made) -> None:
    assert made() == ["run", "pretrain"]


def test_a_length_in_minutes_takes_the_place_of_steps(made) -> None:
    assert made("MINUTES=5", "MODEL=small", "RETRAIN=1") == [
        "run", "pretrain", "model=small", "training.length.minutes=5", "training.length.steps=null", "--retrain",
    ]  # fmt: skip
