"""A mistake in a module that a setting names is the user's, and is told with its file and line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.config import compose, import_named, mistake_in_named
from llm.errors import UserError
from llm.evaluation.metric import find_metric
from llm.tracking.sink import find_sinks

MODULE = "module_with_a_mistake"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setattr("llm.config.imported._named", set())  # other tests name modules of the package of this file
    return tmp_path


MISTAKES = [
    ("x = 1\ndef x(:\n", "SyntaxError: invalid syntax", 2),
    ("\n\nM = undefined_name\n", "NameError: name 'undefined_name' is not defined", 3),
    ("from . import near\n", "ImportError: attempted relative import with no known parent package", 1),
    ("import nobody_has_this\n", "ModuleNotFoundError: No module named 'nobody_has_this'", 1),
    ("import re\nre.compile('(')\n", "missing ), unterminated subpattern", 2),
    ("M = 1 / 0\n", "ZeroDivisionError: division by zero", 1),
    ("import sys\nsys.exit(0)\n", "SystemExit: 0", 2),
]
USERS: list[tuple[str, Callable[[str], Any]]] = [
    ("training.callbacks.name=", lambda name: compose([f"training.callbacks=['{name}']"])),
    ("training.optimizer.name=", lambda name: compose([f"training.optimizer.name={name}"])),
    ("training.schedule.name=", lambda name: compose([f"training.schedule.name={name}"])),
    ("evaluation.metrics: ", find_metric),
    ("tracking.sinks: ", lambda name: find_sinks([name])),
]


@pytest.mark.parametrize(("text", "words", "line"), MISTAKES)
def test_a_mistake_in_the_module_is_told_with_its_file_and_line(folder: Path, text: str, words: str, line: int):
    file = folder / f"{MODULE}.py"
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        import_named("some.key=it", MODULE, "M", "Mend it.")
    first, *rest = str(raised.value).splitlines()
    assert first.startswith("some.key=it cannot be imported: ")
    assert words in first
    assert first.endswith(f"({file}, line {line})")
    assert rest == ["  Mend it."]


@pytest.mark.parametrize(("setting", "use"), USERS)
@pytest.mark.parametrize("text", ["def x(:", "M = undefined_name"])
def test_every_setting_that_names_a_module_says_so(folder: Path, setting: str, use: Callable[[str], Any], text: str):
    (folder / f"{MODULE}.py").write_text(text)
    message = rf"^{re.escape(setting)}{MODULE}:M cannot be imported: \w+Error: .*{MODULE}.py, line 1\)\n"
    with pytest.raises(UserError, match=message):
        use(f"{MODULE}:M")


@pytest.mark.parametrize(("setting", "use"), USERS)
def test_a_module_named_from_nowhere_is_refused(setting: str, use: Callable[[str], Any]):
    with pytest.raises(UserError, match=rf"^{re.escape(setting)}\.near:M cannot be imported: .*relative import"):
        use(".near:M")


CALLED = """
import json, os, sys

def raises(): return {}["not there"]
def leaves(): sys.exit(0)
def misuses(): return json.loads("{")
def is_refused(): raise UserError("its own words")
def meets_a_full_disk(): raise OSError(28, os.strerror(28))
def calls(function): return function()
from llm.errors import UserError
"""


@pytest.fixture
def module(folder: Path) -> Any:
    (folder / f"{MODULE}.py").write_text(CALLED)
    import_named("some.key=it", MODULE, "raises", "Mend it.")
    return sys.modules[MODULE]


def error_of(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as raised:
        call()
    return raised.value


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("raises", "KeyError: 'not there'", 4),
        ("leaves", "SystemExit: 0", 5),
        ("misuses", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", 6),
    ],
)
def test_a_mistake_in_a_later_call_is_told_with_its_file_and_line(module: Any, name: str, words: str, line: int):
    mistake = mistake_in_named(error_of(getattr(module, name)))
    assert str(mistake) == (
        f"{MODULE}, which a setting names, failed: {words} ({module.__file__}, line {line})"
        "\n  Mend the module, and run again."
    )


def stopped() -> None:
    raise SystemExit(75)  # as the handler of a stop signal does


@pytest.mark.parametrize("name", ["is_refused", "meets_a_full_disk"])
def test_what_has_words_of_its_own_is_no_mistake_of_the_module(module: Any, name: str):
    assert mistake_in_named(error_of(getattr(module, name))) is None


def test_a_stop_while_the_module_runs_is_no_mistake_of_the_module(module: Any):
    assert mistake_in_named(error_of(lambda: module.calls(stopped))) is None


def test_an_error_elsewhere_is_no_mistake_of_a_module(module: Any):
    assert mistake_in_named(error_of(lambda: Path("/nowhere/at/all").read_bytes())) is None
