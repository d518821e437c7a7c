"""The example of a how-to in docs/extend/, cut out of its page and put where the page says; the project stays as it is.

A page shows whole files. A comment on the first line of a fenced block names the file, or the fence does:

    ```python
    # llm/evaluation/closed_brackets.py
    …
    ```
    ```yaml closed.yaml
    …
    ```

A block without a name is an illustration: nothing is written for it. The `gristmill` commands in ```bash blocks give
their KEY=VALUE arguments, so that a test sets what the page tells a reader to set.

    def test_the_example_of_the_page_works(tmp_path):
        page = example("metric")
        with installed(page, tmp_path):
            config = compose(page.settings)
            …

`installed` writes the files below a folder of the test and imports from there. A file below `llm/` becomes a module of
that package, as if it stood in the project: the package looks into the test's folder too. Law: after `installed` the
project's packages, `sys.path` and `sys.modules` are as before.
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(?P<language>\w*)[ \t]*(?P<name>[^\n`]*)\n(?P<text>.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"^(?:#|//|<!--)\s*(?P<name>[\w./-]+\.\w+)\s*(?:-->)?\s*$")
SETTING = re.compile(r"^[\w.]+=")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `name` is the file that it shows, None for an illustration."""

    language: str
    name: str | None
    text: str


@dataclass(frozen=True)
class Example:
    """What a page asks a reader to write, and to set."""

    page: Path
    files: dict[str, str]
    """Text by path, relative to the project or to the reader's own folder."""
    settings: tuple[str, ...]
    """KEY=VALUE arguments of the page's `gristmill` commands, each once, in order."""


def example(seam: str) -> Example:
    """The example of docs/extend/SEAM.md; fails if the page shows no file."""
    page = PROJECT / "docs" / "extend" / f"{seam}.md"
    shown = list(blocks(page.read_text(encoding="utf-8")))
    files = {block.name: block.text for block in shown if block.name is not None}
    assert files, f"{page.name} shows no file: name it in the fence, or in a comment on the block's first line"
    commands = [block.text for block in shown if block.language in ("bash", "sh", "console")]
    return Example(page, files, tuple(dict.fromkeys(word for text in commands for word in settings(text))))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in FENCE.finditer(text):
        first = found["text"].partition("\n")[0]
        comment = NAMED.match(first)
        name = found["name"].strip() or (comment["name"] if comment else None)
        yield Block(found["language"], name, found["text"])


def settings(commands: str) -> Iterator[str]:
    """KEY=VALUE arguments of the `gristmill` commands in a shell block."""
    for line in commands.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if "gristmill" in words:
            yield from (word for word in words[words.index("gristmill") :] if SETTING.match(word))


@contextmanager
def installed(given: Example, folder: Path) -> Iterator[Path]:
    """Write the example's files below `folder` and let Python import them until the block ends.

    Raises AssertionError if a file of the example stands in the project already: a how-to adds files, it changes none.
    """
    for name, text in given.files.items():
        assert not (PROJECT / name).exists(), f"{given.page.name} shows {name}, which the project has already"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    modules_before, path_before = set(sys.modules), list(sys.path)
    widened = [_widen(package, folder) for package in _packages(given.files, folder)]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield folder
    finally:
        sys.path[:] = path_before
        for paths, added in widened:
            paths.remove(added)
        for name in set(sys.modules) - modules_before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                _forget(name)
        importlib.invalidate_caches()


def _packages(files: dict[str, str], folder: Path) -> list[str]:
    """The project's packages that get a module of the example, with the folder's path in dots."""
    parents = {Path(name).parent for name in files if name.endswith(".py")}
    return sorted(
        ".".join(parent.parts) for parent in parents if parent.parts and (PROJECT / parent / "__init__.py").is_file()
    )


def _widen(package: str, folder: Path) -> tuple[list[str], str]:
    paths = importlib.import_module(package).__path__
    added = str(folder.joinpath(*package.split(".")))
    paths.append(added)
    return paths, added


def _forget(module: str) -> None:
    parent, _, name = module.rpartition(".")
    del sys.modules[module]
    if parent in sys.modules and hasattr(sys.modules[parent], name):
        delattr(sys.modules[parent], name)
