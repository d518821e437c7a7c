"""Pages that are made from the code are not stale."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    settings = yaml.safe_load((PROJECT / "llm" / "config" / "settings" / group / f"{name}.yaml").read_text())
    for key, value in flat(settings, group):
        assert f"`{key}={value}`" in row


def flat(settings: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Each value with its whole dotted key."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{key}.{name}")
        else:
            yield f"{key}.{name}", value
