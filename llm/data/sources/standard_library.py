"""The default corpus: the standard library of the running interpreter. Always there, no download, about 30 MB.

Its sources are the domain `code`, with its tests where they are installed, without site-packages. Its docstrings,
joined by module, and the topics of `help()` are the domain `prose`. A module's docstrings are derived from the module
and share its split. The module of the topics, `pydoc_data/topics.py`, is left out of `code`: it is one table of the
same texts that `prose` has one by one. It would either leak them or keep them all in one split.
"""

from __future__ import annotations

import ast
import gc
import importlib
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm.config import DataConfig
from llm.data.documents import Document
from llm.data.sources.formats.decode import decoded
from llm.data.sources.formats.text import read_text
from llm.data.sources.local_file import LocalFile, files_below
from llm.data.sources.protocol import Found, InputFile, Reason, Rejection, Source
from llm.errors import UserError

NAME = "stdlib"
LICENCE = "PSF-2.0"
TOPICS = "pydoc_data/topics.py"
NOT_STANDARD = {"site-packages", "dist-packages", "__pycache__"}
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # in the order of the text


class StandardLibrary(Source):
    """The Python sources of the interpreter that runs the step, as code and prose."""

    form = f"`{NAME}` for the standard library of this Python"

    def recognises(self, path: str) -> bool:
        """The one word that names it."""
        return path == NAME

    def files(self, path: str) -> Sequence[LocalFile]:
        """The modules by name; raises UserError if this interpreter has no sources on disk."""
        root = Path(sysconfig.get_path("stdlib"))
        files = files_below(root, lambda one: one.name not in NOT_STANDARD and (one.suffix == ".py" or one.is_dir()))
        if not files:
            raise UserError(
                f"the standard library of {sys.executable} has no sources in {root}",
                "Use another Python, or give your own text with data.path=….",
            )
        return files

    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """A module's source, then its docstrings if it has any; for the module of topics, the topics instead."""
        if file.name == TOPICS:
            yield from _topics(file)
            return
        source = read_text(file, "code", LICENCE)
        yield source
        if isinstance(source, Document) and (prose := docstrings(source.text)):
            yield Document(prose, f"{file.name}#docstrings", "prose", LICENCE, {"derived_from": source.id})

    def warning_in_an_image(self, path: str) -> str | None:
        """An image has its own Python."""
        return f"data.path={NAME} reads the library of the image's Python, which may not be that of this one"


SOURCE = StandardLibrary()


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
    return "\n\n".join(text for text in _docstrings_in(module) if decoded(text.encode(errors="surrogatepass")) == text)


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


def _topics(file: InputFile) -> Iterator[Found]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(topics.items()):
        found = decoded(text.encode())
        source = f"{file.name}#{name}"
        yield Rejection(source, found) if isinstance(found, Reason) else Document(found, source, "prose", LICENCE)
