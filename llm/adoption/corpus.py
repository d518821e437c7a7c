"""A corpus that others made: the text of a file or a folder, ingested as any text, with its origin kept."""

from __future__ import annotations

from llm.adoption.origin import keep_origin, licence_of
from llm.config import DataConfig
from llm.data.ingest import ingest
from llm.data.sources import source_of
from llm.runs.events import EventLog
from llm.storage import Manifest, Store, user_path


def adopt_corpus(config: DataConfig, store: Store, log: EventLog) -> Manifest:
    """Ingest the text that `config.path` names, and keep where it came from; a run with these settings reuses it."""
    manifest = ingest(config, store, log)
    place = user_path(config.path)
    files = {file.name: file.fingerprint() for file in source_of(config.path).files(config.path)}
    folder = place if place.is_dir() else place.parent
    keep_origin(store.objects, manifest, place, files, licence_of(folder) if folder.is_dir() else None)
    return manifest
