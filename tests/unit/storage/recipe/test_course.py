"""The border between what decides a result and what only carries it: llm.storage.recipe.course."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from llm.storage.recipe.course import CARRIERS, COURSE, is_course

PROJECT = Path(__file__).parents[4]
CONNECTIONS = {
    "boto3",
    "botocore",
    "mypy_boto3_s3",
    "docker",
    "kfp",
    "kfp_server_api",
    "kubernetes",
    "mlflow",
    "requests",
    "sqlalchemy",
    "urllib3",
    "wandb",
}
"""Libraries that speak to services."""
PAGES = {"jinja2", "markupsafe", "matplotlib", "polars"}
"""Libraries that draw the report from what was made; llm.report alone may use them."""


def sources(package: str) -> list[Path]:
    path = PROJECT.joinpath(*package.split("."))
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "llm", "components", "pipelines"}


@pytest.mark.parametrize("package", COURSE)
def test_what_carries_a_result_imports_no_library_that_computes(package: str):
    found = {name for path in sources(package) for name in imported(path)}
    allowed = {*CARRIERS, *CONNECTIONS, *(PAGES if package in ("llm.report", "llm.cli") else ())}
    assert found <= allowed, "a library that computes does not belong behind the border of a recipe"


def test_the_carriers_are_the_libraries_of_every_installation():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[]", one)[0] for one in project["dependencies"]}
    assert names == {"click", "hydra-core", "pydantic", "pyyaml"}
    assert set(CARRIERS) == {"click", "hydra", "omegaconf", "pydantic", "yaml"}


def test_the_rooms_that_make_products_are_on_this_side_of_the_border():
    rooms = {f"llm.{path.name}" for path in (PROJECT / "llm").iterdir() if (path / "__init__.py").is_file()}
    assert {room for room in rooms if not is_course(room)} == {
        "llm.adoption", "llm.data", "llm.evaluation", "llm.export", "llm.generation", "llm.model", "llm.registry",
        "llm.serving",
        "llm.tokenizer", "llm.training",
    }  # fmt: skip


def test_a_package_is_of_the_course_with_all_that_is_in_it_and_nothing_that_only_begins_like_it():
    assert is_course("llm.config")
    assert is_course("llm.config.sections.data")
    assert not is_course("llm.configuration")
