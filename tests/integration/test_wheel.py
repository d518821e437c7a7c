"""`pip install .` from a copy of the sources: the wheel holds everything that the commands read.

The environment of this test has the libraries of the present one, and `llm` from the wheel alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llm import __version__

PROJECT = Path(__file__).parents[2]
SECONDS = 240
pytestmark = pytest.mark.timeout(2 * SECONDS)  # the first test builds the wheel and its environment
Command = Callable[..., subprocess.CompletedProcess[str]]


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command, cwd=folder, env=environment | {"PIP_NO_INDEX": "1"}, capture_output=True, text=True, timeout=SECONDS
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = tmp_path_factory.mktemp("sources")  # a build leaves its own files in the folder
    for name in ("llm", "components", "pipelines"):
        shutil.copytree(PROJECT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, sources / name)
    done = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "dist", ".",
        folder=sources,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (built,) = (sources / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment."""
    home = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "--without-pip", home, folder=home).returncode == 0
    python = home / "bin" / "python"
    done = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet", wheel, folder=home
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (packages,) = home.glob("lib/python*/site-packages")
    # A line of a .pth file adds a folder, and no .pth file of that folder is read: an editable install stays out.
    (packages / "libraries.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")) + "\n")
    return home / "bin"


@pytest.fixture
def gristmill(installed: Path, tmp_path: Path) -> Command:
    """Run the installed command in an empty folder."""
    return lambda *arguments: run(installed / "gristmill", *arguments, folder=tmp_path)


def test_the_wheel_holds_every_file_of_the_package_that_is_no_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if not name.endswith(".py")}
    wanted = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / "llm").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert "llm/config/settings/suites/pretrain.json" in wanted
    assert wanted - there == set()


def test_the_wheel_holds_no_package_but_the_projects(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {
            "llm", "components", "pipelines", f"gristmill-{__version__}.dist-info"
        }  # fmt: skip


def test_the_installed_command_says_its_version(gristmill: Command, installed: Path, tmp_path: Path) -> None:
    done = gristmill("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout
    where = run(installed / "python", "-c", "import llm; print(llm.__file__)", folder=tmp_path).stdout
    assert where.startswith(str(installed.parent))


def test_the_installed_command_knows_the_named_settings(gristmill: Command) -> None:
    tiny, small = (gristmill("config", f"model={name}") for name in ("tiny", "small"))
    assert (tiny.returncode, small.returncode) == (0, 0), tiny.stderr + small.stderr
    assert yaml.safe_load(tiny.stdout)["model"] != yaml.safe_load(small.stdout)["model"]
    refused = gristmill("config", "model=smal")
    assert refused.returncode == 2
    assert "model=smal: there is no model named smal\n  Did you mean small?" in refused.stderr


def test_the_installed_command_plans(gristmill: Command) -> None:
    done = gristmill("plan", "model=tiny")
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout


def test_the_installed_command_compiles_the_pipeline(gristmill: Command, tmp_path: Path) -> None:
    done = gristmill("compile", "pretrain", "-o", "package.yaml")
    assert done.returncode == 0, done.stderr
    assert "name: pretrain" in (tmp_path / "package.yaml").read_text()


def test_the_installed_package_finds_its_own_suite(installed: Path, tmp_path: Path) -> None:
    script = "from llm.data.validation import suite_path; print(suite_path('pretrain').is_file())"
    done = run(installed / "python", "-c", script, folder=tmp_path)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_a_folder_of_the_users_does_not_stand_in_for_the_named_settings(gristmill: Command, tmp_path: Path) -> None:
    (tmp_path / "configs" / "model").mkdir(parents=True)
    (tmp_path / "configs" / "model" / "mine.yaml").write_text("hidden_size: 8\n")
    done = gristmill("config", "model=mine")
    assert done.returncode == 2
    assert "there is no model named mine" in done.stderr
