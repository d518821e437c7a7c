"""One small trained checkpoint, exported once for all tests of this folder."""

from __future__ import annotations

import pytest

from llm.export.export import export
from llm.storage import Manifest, Store
from llm.tracking.events import EventLog
from tests.export_case import EXPORT, Case, make_case


@pytest.fixture(scope="session")
def export_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("export") / "store")


@pytest.fixture(scope="session")
def export_log(export_store: Store) -> EventLog:
    return EventLog(export_store.root / "events.jsonl")


@pytest.fixture(scope="session")
def case(export_store: Store, export_log: EventLog) -> Case:
    return make_case(export_store, export_log)


@pytest.fixture(scope="session")
def exported(case: Case, export_store: Store, export_log: EventLog) -> Manifest:
    return export(EXPORT, case.checkpoint, case.tokenizer, case.corpus, export_store, export_log)
