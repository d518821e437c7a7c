"""The same laws hold for a folder and for a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.storage import LocalObjects, Objects
from tests.cases.storage import BucketLaws, ObjectsLaws


class TestFolder(ObjectsLaws):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return LocalObjects(tmp_path / "store")


class TestBucket(BucketLaws):
    """The server is moto's; tests/cluster/test_store.py holds a real one to the same."""
