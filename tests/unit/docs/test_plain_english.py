"""Messages, help, docstrings and pages use words that a reader who learned English at school knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
WORDS = {
    "anew": "again",
    "bear with": "wait for",
    "borne": "endured: say what happens",
    "beside": "next to, besides, with",
    "is told": "learns; X says",
    "are told": "learn; X says",
    "nor": "and not",
    "makes way": "is removed",
    "be had": "be read, found, fetched",
    "lest": "so that … not",
    "whither": "where",
    "thereby": "by this",
    "hence": "so",
    "amid": "during",
    "upon": "on",
    "what is called otherwise": "what has another name",
}
"""What a reader may not know, and what to write in its place."""
FOUND = re.compile(r"(?<![=`\"])\b(" + "|".join(map(re.escape, WORDS)) + r")\b", re.IGNORECASE)
"""A value of a setting (`key=word`, `word`, "word") is no prose."""
CODE = ("llm", "components", "pipelines", "scripts", "charts", "images", "benchmarks")
PAGES = ("docs", "README.md", "CONTRIBUTING.md", "charts")
LONGEST_LINE = 140
WITHOUT_NOUN = "What "
"""A docstring that begins so is a clause without its noun."""


def files(*places: str, ending: str = "") -> list[str]:
    tracked = subprocess.run(["git", "ls-files", *places], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [name for name in tracked.stdout.splitlines() if name.endswith(ending) and (PROJECT / name).is_file()]


@pytest.mark.parametrize("place", [*CODE, "docs", "README.md", "CONTRIBUTING.md"])
def test_no_word_is_harder_than_it_needs_to_be(place: str) -> None:
    found = [
        f"{name}:{number}: {match[0]!r}: write {WORDS[match[0].lower()]!r}"
        for name in files(place)
        for number, line in enumerate((PROJECT / name).read_text(errors="ignore").splitlines(), start=1)
        for match in FOUND.finditer(line)
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_line_of_a_page_is_too_long_to_compare() -> None:
    long = [
        f"{name}:{number}: {len(line)} characters"
        for name in files(*PAGES, ending=".md")
        for number, line in enumerate((PROJECT / name).read_text().splitlines(), start=1)
        if len(line) > LONGEST_LINE and not line.startswith("|")  # a row of a table cannot be broken
    ]
    assert not long, "\n" + "\n".join(long)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings of the module, its classes, functions and attributes, with their lines."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text.lstrip()


@pytest.mark.parametrize("place", ["llm", "components", "pipelines"])
def test_a_docstring_begins_with_a_noun_or_a_verb(place: str) -> None:
    found = [
        f'{name}:{number}: begins with "{WITHOUT_NOUN.strip()}": write the noun, "Errors that …" for "What …"'
        for name in files(place, ending=".py")
        for number, text in docstrings((PROJECT / name).read_text())
        if text.startswith(WITHOUT_NOUN)
    ]
    assert not found, "\n" + "\n".join(found)


def test_docstrings_of_all_places_are_seen() -> None:
    source = '"""M."""\nclass A:\n    """C."""\n    a = 1\n    """T."""\n    def f(self):\n        """F."""\n'
    assert [text for _, text in sorted(docstrings(source))] == ["M.", "C.", "T.", "F."]
