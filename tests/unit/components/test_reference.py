"""Pages that are made from the code are not stale."""

from __future__ import annotations

import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from llm.config import RunConfig, compose, marked

PROJECT = Path(__file__).parents[3]


def test_the_generated_pages_are_fresh():
    checked = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "make_reference.py", "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("key", [key for key, _, _ in marked(RunConfig)])
def test_the_page_of_the_configuration_prints_what_a_run_gets(key: str):
    page = (PROJECT / "docs" / "configuration.md").read_text()
    given = reduce(getattr, key.split("."), compose())
    if key == "gate.metrics":
        given = {name: rule.model_dump(mode="json") for name, rule in given.items()}
    assert f"| `{key}` | `{given!r}` | " in page


@pytest.mark.parametrize("setting", ["model=small", "model=tiny", "training=cpu"])
def test_the_page_of_the_configuration_lists_the_named_settings(setting: str):
    group, _, name = setting.partition("=")
    row = next(
        line for line in (PROJECT / "docs" / "configuration.md").read_text().splitlines() if f"`{setting}`" in line
    )
    for line in (PROJECT / "llm" / "config" / "settings" / group / f"{name}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            assert f"`{group}.{line.partition(':')[0]}=" in row
