"""The import of an object that a setting names, such as a metric, a sink or a callback, and the errors of its code.

The user wrote the module, so the user can repair any error of its import, and any error of a later call. The error is
a `UserError` with the file and the line, and not a fault of Gristmill.
"""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from llm.errors import GristmillError, UserError
from llm.storage import is_disk_full

LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
"""Folders of Python's own modules and of installed packages."""
OURS = __name__.partition(".")[0]
_named: set[str] = set()
"""Packages of the modules that settings named in this process; ours is not among them."""


def import_named(setting: str, module: str, attribute: str, remedy: str) -> Any:
    """The object `attribute` of a module that a setting names; `setting` begins the message, `remedy` ends it.

    Raises UserError with the error, its file and its line if the module cannot be imported, or lacks the attribute.
    """
    if (package := module.partition(".")[0]) != OURS:
        _named.add(package)
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module is the user's, and so is any error of its import
        raise UserError(f"{setting} cannot be imported: {_told(error)}", remedy) from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise UserError(f"{setting} cannot be imported: {error}", remedy) from error
    return found


def mistake_in_named(error: BaseException) -> UserError | None:
    """The error as the user's, if the code of a module that a setting names raised it or led to it; else None.

    A full disk is not its mistake. A SystemExit is the module's only where the module raises it: a stop signal may
    come while its code runs.
    """
    if isinstance(error, GristmillError) or (isinstance(error, Exception) and is_disk_full(error)):
        return None
    modules = [
        (str(frame.f_globals.get("__name__", "")), f"{frame.f_code.co_filename}, line {line}")
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    theirs = [(module, place) for module, place in modules if module.partition(".")[0] in _named]
    if not theirs or (not isinstance(error, Exception) and theirs[-1] != modules[-1]):
        return None
    module, place = theirs[-1]
    return UserError(
        f"{module}, which a setting names, failed: {_words(error)} ({place})", "Mend the module, and run again."
    )


def _told(error: BaseException) -> str:
    """The error in a line: its kind, its words, and where it is; a module that is not there has no place."""
    place = _place(error)
    return str(error) if place is None else f"{_words(error)} ({place})"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"


def _place(error: BaseException) -> str | None:
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
