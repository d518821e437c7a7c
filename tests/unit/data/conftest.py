"""The smallest input that is a real corpus, and its ingest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm.config import DataConfig
from llm.data.ingest import ingest
from llm.runs.events import EventLog
from llm.storage import Manifest, Store


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of 60 short texts: enough that every split has some."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.txt").write_text(f"Document number {number} grinds slowly.\nSecond line.\n")
    return folder


@pytest.fixture
def ingested(store: Store, log: EventLog) -> Callable[..., Manifest]:
    """Ingest a path with the given settings."""
    return lambda path, **settings: ingest(DataConfig(path=str(path), **settings), store, log)
