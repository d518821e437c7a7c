"""One small trained checkpoint, exported once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm.storage import Manifest
from tests.cases.export import Case, make_case, one_thread


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with one_thread():
        yield make_case(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def exported(case: Case) -> Manifest:
    return case.exported
