"""What all tests share: the flag for golden files, and a store and log in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.storage import Store
from llm.tracking.events import EventLog


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite golden files with what came out")


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compare text with a file below tests/golden, or rewrite it when --update-goldens is given."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{name} changed; if that is wanted: make golden"

    return check


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")
