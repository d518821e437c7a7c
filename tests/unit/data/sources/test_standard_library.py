from __future__ import annotations

import gc
import sys
import warnings
from pathlib import Path

import pytest

from llm.config import DataConfig
from llm.data import Document
from llm.data.sources import Found, InputFile, Rejection, source_of
from llm.data.sources.local_file import files_below
from llm.data.sources.standard_library import TOPICS, docstrings
from llm.errors import UserError

LIBRARY = source_of("stdlib")


def read_module(file: InputFile) -> list[Found]:
    return list(LIBRARY.read(file, DataConfig()))


MODULE = '''"""Of the module."""
def f():
    "Of f."
    def inner():
        r"""Of inner,
        indented."""
class C:
    """Of C."""
    async def g(self):
        """Of g."""
try:
    if x:
        def h(): "Of h."
except E:
    def i(): "Of i."
finally:
    with y:
        def j(): "Of j."
match z:
    case 1:
        def k(): "Of k."
text = """Not a docstring."""
'''


def test_docstrings_come_in_their_order_from_every_definition() -> None:
    assert docstrings(MODULE).split("\n\n") == [
        "Of the module.",
        "Of f.",
        "Of inner,\nindented.",
        "Of C.",
        "Of g.",
        "Of h.",
        "Of i.",
        "Of j.",
        "Of k.",
    ]


@pytest.mark.parametrize(
    "source", ["def f(:", "x = 1", "def f(): ' '", "a\0b", "def f(): '\\ud800'", "-" * 100_000 + "1"]
)
def test_a_module_without_docstrings_or_that_does_not_parse_has_no_prose(source: str) -> None:
    assert docstrings(source) == ""


def test_reading_a_module_warns_of_nothing_and_leaves_the_collector_as_it_was() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert docstrings("'\\d'") == "\\d"
    assert gc.isenabled()


def test_a_module_is_its_source_and_then_its_docstrings_derived_from_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(MODULE)
    source, prose = read_module(files_below(tmp_path)[0])
    assert source == Document(MODULE, "m.py", "code", "PSF-2.0")
    assert isinstance(source, Document)
    assert prose == Document(docstrings(MODULE), "m.py#docstrings", "prose", "PSF-2.0", {"derived_from": source.id})


def test_a_module_that_is_not_utf8_is_left_out_with_its_docstrings(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_bytes(b'# coding: latin-1\n"""caf\xe9"""\n')
    assert [found.reason for found in read_module(files_below(tmp_path)[0]) if isinstance(found, Rejection)] == [
        "not_utf8"
    ]


def test_the_library_of_this_interpreter_is_all_there_and_nothing_else() -> None:
    files = {file.name: file for file in LIBRARY.files("stdlib")}
    assert {"ast.py", "json/encoder.py", "email/mime/text.py"} <= files.keys()
    assert all(name.endswith(".py") for name in files)
    assert not [name for name in files if "site-packages" in name or "__pycache__" in name]
    assert sum(file.size_bytes for file in files.values()) > 5_000_000


def test_the_topics_of_help_are_prose_and_their_module_is_not_code() -> None:
    topics = next(file for file in LIBRARY.files("stdlib") if file.name == TOPICS)
    found = [one for one in read_module(topics) if isinstance(one, Document)]
    assert len(found) > 50
    assert {(one.domain, one.licence) for one in found} == {("prose", "PSF-2.0")}
    assert not any("derived_from" in one.meta for one in found)
    assert any(one.source == "pydoc_data/topics.py#lambda" and "anonymous" in one.text for one in found)


def test_an_interpreter_without_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=f"the standard library of {sys.executable} has no sources"):
        LIBRARY.files("stdlib")
