"""The examples of docs/extend/ are found, put in place and taken away again."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.cases.extend import PROJECT, Block, Example, blocks, example, installed, settings

PAGE = """# How
```python
# llm/evaluation/one.py
ONE = 1
```
```yaml two.yaml
a: 2
```
```python
illustration()
```
```bash
gristmill run pretrain evaluation.metrics=[one] \\
  'data.path=a b'   # c=d
ls x=y
```
"""


def page(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs" / "extend").mkdir(parents=True)
    (tmp_path / "docs" / "extend" / "one.md").write_text(text)
    monkeypatch.setattr("tests.cases.extend.PROJECT", tmp_path)


def test_blocks_are_named_by_their_fence_or_their_first_line():
    assert list(blocks(PAGE))[:3] == [
        Block("python", "llm/evaluation/one.py", "# llm/evaluation/one.py\nONE = 1\n"),
        Block("yaml", "two.yaml", "a: 2\n"),
        Block("python", None, "illustration()\n"),
    ]


def test_an_example_is_its_files_and_what_its_commands_set(tmp_path, monkeypatch):
    page(PAGE, tmp_path, monkeypatch)
    found = example("one")
    assert sorted(found.files) == ["llm/evaluation/one.py", "two.yaml"]
    assert found.settings == ("evaluation.metrics=[one]", "data.path=a b")
    assert list(settings("echo x=1\n")) == []


def test_a_page_without_a_file_is_refused(tmp_path, monkeypatch):
    page("# How\n```python\nillustration()\n```\n", tmp_path, monkeypatch)
    with pytest.raises(AssertionError, match=r"one.md shows no file: name it in the fence"):
        example("one")


def test_a_module_is_of_the_projects_package_until_the_block_ends(tmp_path):
    given = Example(Path("one.md"), {"llm/words_too/a.py": "A = 1\n", "llm/config/one_more.py": "ONE = 1\n"}, ())
    with installed(given, tmp_path):
        assert importlib.import_module("llm.config.one_more").ONE == 1
    assert "llm.config.one_more" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("llm.config.one_more")
    assert str(tmp_path) not in sys.path


def test_a_module_of_the_readers_own_is_imported_by_its_name(tmp_path):
    with installed(Example(Path("one.md"), {"readers_own.py": "OWN = 2\n"}, ()), tmp_path):
        assert importlib.import_module("readers_own").OWN == 2
    assert "readers_own" not in sys.modules


def test_an_example_that_changes_a_file_of_the_project_is_refused(tmp_path):
    name = "llm/errors.py"
    assert (PROJECT / name).is_file()
    refused = pytest.raises(AssertionError, match=r"one.md shows llm/errors.py, which the project has already")
    with refused, installed(Example(Path("one.md"), {name: ""}, ()), tmp_path):
        pass
