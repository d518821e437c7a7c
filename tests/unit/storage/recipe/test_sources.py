"""The code and the libraries of a recipe come from the import graph, read and never imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from llm.errors import UserError
from llm.storage import Recipe
from llm.storage.recipe import libraries, sources
from llm.storage.recipe.sources import check_sources, code_of, libraries_of

PROJECT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def fresh():
    for cached in (code_of, sources._libraries_of, libraries.installed):
        cached.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the reader's own: `mill_of_a_test.step` reaches some of its modules."""
    folder = tmp_path / "mill_of_a_test"
    modules = {
        "__init__": "",
        "step": """
            import json
            from typing import TYPE_CHECKING
            from . import near
            from mill_of_a_test.face import thing
            if TYPE_CHECKING:
                import mill_of_a_test.only_for_types
            def body():
                from mill_of_a_test.late import x
        """,
        "near": "from .deep import y",
        "deep": "import numpy, mill_of_a_test.step",
        "face/__init__": "from mill_of_a_test.face.inner import thing",
        "face/inner": "thing = 1",
        "face/other": "",
        "late": "from llm.model.size import count_parameters\nfrom llm.errors import UserError\nx = 1",
        "only_for_types": "",
        "stranger": "",
    }
    for name, text in modules.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_code_is_all_that_a_module_reaches_inside_functions_too(package: Path):
    assert set(code_of("mill_of_a_test.step")) == {
        "mill_of_a_test/step.py",
        "mill_of_a_test/near.py",
        "mill_of_a_test/deep.py",
        "mill_of_a_test/face/__init__.py",
        "mill_of_a_test/face/inner.py",
        "mill_of_a_test/late.py",
        "llm/model/size.py",
    }
    assert list(libraries_of("mill_of_a_test.step")) == ["numpy"]


def test_a_root_counts_wherever_it_is():
    assert list(code_of("llm.steps.outcome")) == ["llm/steps/outcome.py"]


def test_a_module_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no module llm\.nowhere"):
        code_of("llm.nowhere")
    with pytest.raises(ValueError, match="no module nowhere_at_all"):
        code_of("nowhere_at_all")


def test_a_module_that_is_started_by_its_name_takes_part():
    assert "llm/training/worker.py" in code_of("llm.training.launch")


def test_code_is_read_and_not_imported():
    script = (
        "import sys; from llm.storage.recipe.sources import code_of, libraries_of\n"
        "code_of('llm.training.train'); libraries_of('llm.training.train')\n"
        "assert not {'torch', 'deepspeed', 'llm.training'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_library_that_is_not_installed_is_no_part_of_a_recipe(package: Path):
    (package / "step.py").write_text("import a_library_that_nobody_has")
    assert libraries_of("mill_of_a_test.step") == {}


def test_a_library_is_found_by_the_name_that_its_distribution_has_elsewhere():
    assert libraries.installed("yaml") == ("PyYAML",)


def test_another_version_of_a_library_makes_another_recipe(monkeypatch: pytest.MonkeyPatch):
    before = Recipe("s", {}, code=("llm.model.attention",))
    key = before.key
    assert set(before.parts["library"]) == {"torch"}
    sources._libraries_of.cache_clear()
    monkeypatch.setattr(libraries, "version", lambda name: "99.0+cpu")
    after = Recipe("s", {}, code=("llm.model.attention",))
    assert after.parts["library"] == {"torch": "99.0"}
    assert after.key != key


def key_in(project: Path, root: str) -> str:
    """The key of a recipe with this code, as a fresh process with another copy of the project computes it."""
    script = f"from llm.storage import Recipe; print(Recipe('s', {{}}, code=({root!r},)).key)"
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True, timeout=60
    )
    return made.stdout


@pytest.mark.parametrize("root", ["llm.evaluation.evaluate", "llm.export.export"])
def test_a_change_of_how_a_split_is_read_changes_the_key_of_all_that_read_one(tmp_path: Path, root: str):
    shutil.copytree(PROJECT / "llm", tmp_path / "llm", ignore=shutil.ignore_patterns("__pycache__"))
    before = key_in(tmp_path, root)
    assert key_in(tmp_path, root) == before
    with (tmp_path / "llm" / "errors.py").open("a") as file:
        file.write("# another word\n")
    assert key_in(tmp_path, root) == before, "the words of an error decide no result"
    source = tmp_path / "llm" / "data" / "documents.py"
    source.write_text(source.read_text().replace("def read_split", "ANOTHER = 1\n\n\ndef read_split"))
    assert key_in(tmp_path, root) != before


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's own modules, none of them from a distribution."""
    modules = {
        "own_callback": "import own_helper, own_space.near\nfrom own_package import part\nimport numpy, json",
        "own_helper": "from own_deeper import x",
        "own_deeper": "x = 1",
        "own_package/__init__": "",
        "own_package/part": "",
        "own_package/stranger": "",
        "own_space/near": "from . import beside_it",
        "own_space/beside_it": "",
        "own_space/deep/deeper": "from own_space.beside_it import y",
        "own_broken": "def body():\n    import own_typo",
        "own_typo": "def x(:",
    }
    for name, text in modules.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_code_of_a_users_module_holds_what_it_imports_from_other_modules_of_the_user(users: Path):
    before = code_of("own_callback")
    assert set(before) == {
        "own_callback.py",
        "own_helper.py",
        "own_deeper.py",
        "own_package/part.py",
        "own_space/near.py",
        "own_space/beside_it.py",
    }
    assert list(libraries_of("own_callback")) == ["numpy"]
    (users / "own_deeper.py").write_text("x = 2")
    code_of.cache_clear()
    after = code_of("own_callback")
    assert {name for name in after if after[name] != before[name]} == {"own_deeper.py"}


def test_a_package_without_an_init_file_is_found(users: Path):
    assert set(code_of("own_space.deep.deeper")) == {"own_space/deep/deeper.py", "own_space/beside_it.py"}
    check_sources(["own_space.deep.deeper", "own_callback"])


def test_a_module_next_to_a_module_is_not_in_it(users: Path):
    assert sources.locate("own_helper.own_deeper") is None


def test_a_module_whose_code_no_recipe_can_hold_is_refused(users: Path, monkeypatch: pytest.MonkeyPatch):
    archive = users / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("own_packed.py", "")
    monkeypatch.syspath_prepend(archive)
    with pytest.raises(UserError, match=r"^the code of own_packed cannot be read: no module own_packed\n  Each recipe"):
        check_sources(["own_packed"])
    with pytest.raises(
        UserError, match=r"^the code of own_broken cannot be read: invalid syntax \(own_typo.py, line 1\)"
    ):
        check_sources(["own_broken"])
