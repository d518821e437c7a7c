"""The default corpus: the standard library of the running interpreter. Always there, no download, about 30 MB.

Its sources are the domain `code`, tests included where they are installed, site-packages not. Its docstrings, joined
by module, and the topics of `help()` are the domain `prose`. A module's docstrings are derived from the module and
share its split. The module of the topics, `pydoc_data/topics.py`, is left out of `code`: it is one table of the very
texts that `prose` has one by one, and would either leak them or keep them all in one split.
"""

from __future__ import annotations

import ast
import gc
import importlib
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.data.documents import Document
from llm.data.readers import Reason, Rejection, checked, read_text
from llm.data.sources import InputFile, files_below
from llm.errors import UserError

LICENCE = "PSF-2.0"
TOPICS = "pydoc_data/topics.py"
NOT_STANDARD = {"site-packages", "dist-packages", "__pycache__"}
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # in the order of the text


def stdlib_files() -> list[InputFile]:
    """The Python sources of the standard library, by name; raises UserError if this interpreter has none on disk."""
    root = Path(sysconfig.get_path("stdlib"))
    files = files_below(root, lambda path: path.name not in NOT_STANDARD and (path.suffix == ".py" or path.is_dir()))
    if not files:
        raise UserError(
            f"the standard library of {sys.executable} has no sources in {root}",
            "Use another Python, or give your own text with data.path=….",
        )
    return files


def read_module(file: InputFile) -> Iterator[Document | Rejection]:
    """A module's source, then its docstrings if it has any; for the module of topics, the topics instead."""
    if file.name == TOPICS:
        yield from _topics(file)
        return
    source = read_text(file, "code", LICENCE)
    yield source
    if isinstance(source, Document) and (prose := docstrings(source.text)):
        yield Document(prose, f"{file.name}#docstrings", "prose", LICENCE, {"derived_from": source.id})


def docstrings(source: str) -> str:
    """All docstrings of a module in their order, a blank line between two; nothing if it does not parse.

    Some of the library's own test files are broken on purpose.
    """
    try:
        with warnings.catch_warnings(), _collector_paused():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)  # until 3.12: invalid escapes
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last: nested too deeply for 3.11's parser
        return ""
    return "\n\n".join(text for text in _docstrings_in(module) if checked(text.encode(errors="surrogatepass")) == text)


def _docstrings_in(node: ast.AST) -> Iterator[str]:
    """Docstrings of a node and of every definition below it; expressions hold none and are not entered."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
        text := ast.get_docstring(node)
    ):
        yield text
    for block in BLOCKS:
        for statement in getattr(node, block, ()):
            yield from _docstrings_in(statement)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking each growing syntax tree, which has no cycles: a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _topics(file: InputFile) -> Iterator[Document | Rejection]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(topics.items()):
        found = checked(text.encode())
        source = f"{file.name}#{name}"
        yield Rejection(source, found) if isinstance(found, Reason) else Document(found, source, "prose", LICENCE)
