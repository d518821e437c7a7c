"""Text of others is ingested as any text, and its origin is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.adoption.corpus import adopt_corpus
from llm.adoption.origin import origin_of
from llm.config import DataConfig
from llm.data.ingest import ingest
from llm.errors import UserError
from llm.runs.events import EventLog
from llm.storage import Store, sha256_of_file


def test_a_run_with_the_same_settings_reuses_it(tmp_path: Path, store: Store, log: EventLog):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"document {number} of the mill")
    (folder / "LICENSE").write_text("Take it.\n")
    config = DataConfig(path=str(folder), validation_fraction=0.3, test_fraction=0.3)
    manifest = adopt_corpus(config, store, log)
    assert ingest(config, store, log).id == manifest.id
    assert manifest.id in store.found
    origin = origin_of(store.objects, manifest)
    assert origin is not None
    assert origin.places == (str(folder),)
    assert origin.files["7.txt"] == sha256_of_file(folder / "7.txt")
    assert origin.licence == "Take it.\n"


def test_what_ingest_refuses_leaves_nothing_behind(tmp_path: Path, store: Store, log: EventLog):
    (tmp_path / "one.txt").write_text("one document")
    with pytest.raises(UserError, match="too few documents"):
        adopt_corpus(DataConfig(path=str(tmp_path / "one.txt")), store, log)
    assert not any(path.is_file() for path in store.root.rglob("*"))
