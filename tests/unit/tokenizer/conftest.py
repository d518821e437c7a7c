"""A small corpus of Python source, and a tokenizer trained on it."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path

import pytest

from llm.config import DataConfig, TokenizerConfig
from llm.data.ingest import ingest
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.tokenizer.train import train_tokenizer

VOCABULARY = 400


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, EventLog, Path]:
    folder = tmp_path_factory.mktemp("tokenizer")
    return Store(folder / "store"), EventLog(folder / "events.jsonl"), folder


@pytest.fixture(scope="session")
def corpus(workplace: tuple[Store, EventLog, Path]) -> Manifest:
    store, log, folder = workplace
    texts = folder / "texts"
    texts.mkdir()
    functions = [function for _, function in inspect.getmembers(textwrap, inspect.isfunction)]
    functions += [function for _, function in inspect.getmembers(inspect, inspect.isfunction)]
    for number, function in enumerate(functions):
        (texts / f"{number}.py").write_text(inspect.getsource(function))
    return ingest(DataConfig(path=str(texts), domain="code"), store, log)


@pytest.fixture(scope="session")
def vocabulary(workplace: tuple[Store, EventLog, Path], corpus: Manifest) -> Manifest:
    store, log, _ = workplace
    return train_tokenizer(TokenizerConfig(vocab_size=VOCABULARY), corpus, store, log)
