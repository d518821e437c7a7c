"""A hidden library is missing while it is hidden, and no longer."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from llm.process.hidden_modules import hidden


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a library that nobody has loaded."""
    (tmp_path / "a_heavy_library.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_heavy_library", raising=False)
    return "a_heavy_library"


def test_a_hidden_library_is_missing_and_then_there_again(library: str):
    with hidden(library), pytest.raises(ModuleNotFoundError, match="a_heavy_library"):
        importlib.import_module(library)
    assert importlib.import_module(library).__name__ == library
    del sys.modules[library]


def test_a_library_that_is_loaded_stays(library: str):
    loaded = importlib.import_module(library)
    with hidden(library):
        assert importlib.import_module(library) is loaded
    assert sys.modules.pop(library) is loaded


def test_an_error_in_the_block_hides_nothing_any_longer(library: str):
    with pytest.raises(ValueError, match="wrong"), hidden(library):
        raise ValueError("wrong")
    assert library not in sys.modules
