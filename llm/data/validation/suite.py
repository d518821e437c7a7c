"""Expectation suites: JSON files in Great Expectations' own format, ours by name, the user's by path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm.config import SETTINGS, nearest
from llm.errors import UserError
from llm.storage import user_path

FOLDER = SETTINGS / "suites"


def is_path(suite: str) -> bool:
    """Whether `validation.suite` is a path, not the name of a suite that is installed with us."""
    return "/" in suite or suite.endswith(".json")


def suite_path(suite: str) -> Path:
    """The file of a suite, by its name or by its path; raises UserError if there is none."""
    path = user_path(suite) if is_path(suite) else FOLDER / f"{suite}.json"
    if path.is_file():
        return path
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    raise UserError(
        f"there is no suite {suite}",
        f"It was looked for at {path.absolute()}." if is_path(suite) else nearest(suite, names),
        f"validation.suite is the path of a JSON file, or one of these names: {', '.join(names)}.",
    )


def read_suite(path: Path) -> dict[str, Any]:
    """A suite file as plain data: a name and a list of expectations, each with a type; raises UserError."""
    try:
        suite = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise UserError(f"suite {path} is not JSON: {error}") from error
    expectations = suite.get("expectations") if isinstance(suite, dict) else None
    is_list = isinstance(expectations, list) and all(
        isinstance(one, dict) and isinstance(one.get("type"), str) and isinstance(one.get("kwargs", {}), dict)
        for one in expectations
    )
    if not is_list or not expectations:
        raise UserError(
            f"{path} is not an expectation suite",
            'It must read {"name": …, "expectations": [{"type": "expect_…", "kwargs": {"column": …}}, …]}'
            f" with at least one expectation; see {FOLDER / 'pretrain.json'}.",
        )
    return {"name": path.stem, **suite}
