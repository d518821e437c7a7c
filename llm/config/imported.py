"""The import of an object that a setting names, such as a metric, a sink or a callback.

The user wrote the module, so the user can repair any error of its import. The error is a `UserError` with the file
and the line, and not a fault of Gristmill.
"""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from llm.errors import UserError

LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
"""Folders of Python's own modules and of installed packages."""


def import_named(setting: str, module: str, attribute: str, remedy: str) -> Any:
    """The object `attribute` of a module that a setting names; `setting` begins the message, `remedy` ends it.

    Raises UserError with the error, its file and its line if the module cannot be imported, or lacks the attribute.
    """
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # the module is the user's, and so is any error of its import
        raise UserError(f"{setting} cannot be imported: {_told(error)}", remedy) from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise UserError(f"{setting} cannot be imported: {error}", remedy) from error
    return found


def _told(error: Exception) -> str:
    """The error in a line: its kind, its words, and where it is; a module that is not there has no place."""
    place = _place(error)
    if place is None:
        return str(error)
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {words} ({place})"


def _place(error: Exception) -> str | None:
    """File and line of a mistake: the user's last line that ran; a library's, if no line of the user ran."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}, line {error.lineno}"
    ran = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)[1:]]
    ran = [(file, line) for file, line in ran if file != importlib.__file__ and not file.startswith("<frozen")]
    theirs = [(file, line) for file, line in ran if not _is_library(file)]
    if not ran:
        return None
    file, line = (theirs or ran)[-1]
    return f"{file}, line {line}"


def _is_library(file: str) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in LIBRARIES)
