"""Sources and formats are found by themselves, and nothing else knows them by name."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.config import DataConfig
from llm.data.sources import Found, InputFile, Source, discovery, format_of, source_of
from llm.data.sources.formats.jsonl import JsonLines
from llm.data.sources.local import LocalFiles
from llm.data.sources.local_file import LocalFile
from llm.data.sources.standard_library import StandardLibrary
from llm.errors import UserError

PROJECT = Path(__file__).parents[4]


def file(name: str) -> LocalFile:
    return LocalFile(Path(name), name, 0, 0)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package `mill` with entry points; a test writes both files."""
    (tmp_path / "mill-1.0.dist-info").mkdir()
    (tmp_path / "mill-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mill\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def points_to(package: Path, text: str) -> None:
    (package / "mill-1.0.dist-info" / "entry_points.txt").write_text(text)


def test_what_is_there_is_found_by_the_name_of_its_module() -> None:
    assert list(discovery.sources()) == ["local", "standard_library"]
    assert list(discovery.formats()) == ["jsonl", "parquet", "text"]


@pytest.mark.parametrize(
    ("path", "source"), [("stdlib", StandardLibrary), ("./stdlib", LocalFiles), ("a/*.txt", LocalFiles)]
)
def test_a_path_has_one_source(path: str, source: type[Source]) -> None:
    assert type(source_of(path)) is source


@pytest.mark.parametrize(
    ("name", "module"),
    [("a.jsonl", "jsonl"), ("a.NDJSON.gz", "jsonl"), ("a.parquet", "parquet"), ("a.md", "text"), ("README", "text")],
)
def test_a_file_has_one_format_and_plain_text_is_the_last(name: str, module: str) -> None:
    assert type(format_of(file(name))).__module__.rpartition(".")[2] == module


def test_the_rest_of_the_project_does_not_know_the_standard_library() -> None:
    own = {PROJECT / "llm/data/sources/standard_library.py"}
    own.add(PROJECT / "llm/config/imported.py")  # the name of a folder in sysconfig, not of a source
    knowing = {
        path.relative_to(PROJECT).as_posix()
        for path in {*(PROJECT / "llm").rglob("*.py"), *(PROJECT / "components").rglob("*.py")} - own
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Constant) and node.value == "stdlib")
        or (isinstance(node, ast.ImportFrom) and "standard_library" in str(node.module))
    }
    assert knowing == {"llm/config/sections/data.py"}  # the default of data.path


def test_a_second_format_for_the_same_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "formats", lambda: {"jsonl": JsonLines(), "own": JsonLines()})
    with pytest.raises(UserError, match=r"a\.jsonl: jsonl and own both read it\n  Remove one of the packages"):
        format_of(file("a.jsonl"))


def test_an_entry_point_that_cannot_be_loaded_is_refused_by_name(package: Path) -> None:
    points_to(package, "[gristmill.formats]\nmill = mill:MISSING\n")
    (package / "mill.py").write_text("")
    with pytest.raises(
        UserError, match=r"the format mill of an installed package cannot be loaded: .*MISSING.*\n.*mill:MI"
    ):
        format_of(file("a.txt"))


def test_an_entry_point_that_is_no_source_is_refused_by_name(package: Path) -> None:
    points_to(package, "[gristmill.sources]\nflour = flour:SOURCE\n")
    (package / "flour.py").write_text("SOURCE = 3\n")
    with pytest.raises(UserError, match=r"the source flour is not an object of a class of llm\.data\.sources\.Source"):
        source_of("a.txt")


def test_two_formats_of_one_name_are_refused(package: Path) -> None:
    points_to(package, "[gristmill.formats]\njsonl = llm.data.sources.formats.jsonl:FORMAT\n")
    with pytest.raises(UserError, match="there are two formats called jsonl"):
        format_of(file("a.txt"))


def test_a_source_says_for_itself_what_it_needs_of_the_machine() -> None:
    class Anywhere(Source):
        def recognises(self, path: str) -> bool:
            return path.startswith("anywhere:")

        def files(self, path: str) -> list[InputFile]:
            return []

        def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
            yield from ()

    assert (Anywhere().host_paths("anywhere:x"), Anywhere().warning_in_an_image("anywhere:x")) == ((), None)
    assert source_of("stdlib").host_paths("stdlib") == ()
    assert source_of("/data/*.txt").host_paths("/data/*.txt") == [Path("/data")]
    assert source_of("~no-such-user/x").recognises("~no-such-user/x")
    with pytest.raises(UserError, match=r"~no-such-user/x: there is no user no-such-user on this machine"):
        source_of("~no-such-user/x").host_paths("~no-such-user/x")


def test_who_only_asks_what_a_path_needs_loads_no_heavy_library() -> None:
    program = (
        "import sys; from llm.data.sources import source_of; from llm.data.validation.suite import is_path;"
        "source_of('texts').host_paths('texts'); source_of('stdlib').files('stdlib');"
        "print([name for name in ('great_expectations', 'numpy', 'polars', 'pyarrow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT)
    assert (done.stdout, done.stderr) == ("[]\n", "")
