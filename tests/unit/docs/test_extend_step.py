"""The step of docs/extend/step.md: two files by hand, and the rest follows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cases.extend import PROJECT, example

BY_HAND = {"llm/data/census.py", "llm/steps/bodies/census.py"}
MADE = {f"components/census/{name}" for name in ("component.py", "__init__.py", "README.md")} | {"docs/cli.md"}
FOLDERS = ("llm", "components", "pipelines", "scripts", "docs", "charts")


def files(project: Path) -> dict[str, bytes]:
    """Content of every file by its path, without what Python leaves."""
    found = (path for path in project.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in found}


def run(project: Path, *arguments: str) -> str:
    """What a command of the changed project prints."""
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    command = [sys.executable, *(arguments if arguments[0].endswith(".py") else ("-c", script, *arguments))]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the page's files in it, and what `make reference` makes of them."""
    copy = tmp_path_factory.mktemp("project")
    for folder in FOLDERS:
        shutil.copytree(PROJECT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = files(copy)
    given = example("step")
    assert set(given.files) == BY_HAND
    for name, text in given.files.items():
        assert name not in before, f"the project has {name} already"
        (copy / name).write_text(text)
    run(copy, "scripts/make_reference.py")
    after = files(copy)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == BY_HAND | MADE, "these files, and no others"
    return copy


def test_the_step_is_a_command_with_its_help(project: Path):
    assert "→ census →" in run(project, "--help")
    assert "Count the words of a corpus by domain. All splits count." in run(project, "census", "--help")


def test_the_step_is_a_task_of_the_package(project: Path, tmp_path: Path):
    run(project, "compile", "pretrain", "-o", str(tmp_path / "pretrain.yaml"))
    pipeline = next(yaml.safe_load_all((tmp_path / "pretrain.yaml").read_text()))
    groups = [pipeline["root"], *pipeline["components"].values()]
    (task,) = [tasks["census"] for group in groups if "census" in (tasks := group.get("dag", {}).get("tasks", {}))]
    assert set(task["dependentTasks"]) == {"ingest", "validate"}
    assert set(task["inputs"]["artifacts"]) == {"corpus"}


def test_the_step_works_is_reused_and_says_why_it_is_made_again(project: Path, tmp_path: Path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(60):
        (texts / f"{number}.txt").write_text(f"Text {number} has five words")
    settings = [f"data.path={texts}", f"storage.uri={tmp_path / 'store'}", f"run.folder={tmp_path / 'runs'}"]
    run(project, "ingest", "--run", "one", *settings)
    run(project, "census", "--run", "one", *settings)
    (made,) = (tmp_path / "store" / "census").glob("*/words.json")
    assert json.loads(made.read_text()) == {"text": 300}
    foreseen = run(project, "run", "pretrain", "--dry-run", "run.name=one", *settings)
    assert "census     reused: census " in foreseen
    source = project / "llm" / "data" / "census.py"
    source.write_text(source.read_text().replace("text.split()", "text.split(' ')"))
    foreseen = run(project, "run", "pretrain", "--dry-run", "run.name=one", *settings)
    assert "census     made again: code llm/data/census.py" in foreseen
