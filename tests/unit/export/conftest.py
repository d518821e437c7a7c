"""One small trained checkpoint, exported once for all tests."""

from __future__ import annotations

import pytest

from llm.storage import Manifest
from tests.export_case import Case, make_case


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def exported(case: Case) -> Manifest:
    return case.exported
