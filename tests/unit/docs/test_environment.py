"""docs/environment.md names every variable of ours that the code reads or sets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[3]
NAME = re.compile(r"\bGRISTMILL_[A-Z0-9_]+\b")
PLACES = ("llm", "scripts", "images", "charts", "components", "pipelines", "benchmarks", "tests")


def test_every_variable_of_ours_is_on_the_page() -> None:
    tracked = subprocess.run(["git", "ls-files", *PLACES], cwd=PROJECT, capture_output=True, text=True, check=True)
    used = {name for file in tracked.stdout.splitlines() for name in NAME.findall(_text(PROJECT / file))}
    on_the_page = set(NAME.findall((PROJECT / "docs" / "environment.md").read_text()))
    assert "GRISTMILL_CPUS" in used
    assert on_the_page == used - {"GRISTMILL_C"}  # a prefix that a test of the chart looks for


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
