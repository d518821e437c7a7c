"""Components are thin, and name the steps that they are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from llm.steps import STEPS

COMPONENTS = Path(__file__).parents[3] / "components"
NO_STEPS = ("reuse", "report")
FOLDERS = sorted(path.parent for path in COMPONENTS.glob("*/component.py"))


def test_every_step_has_a_component_and_every_component_a_step():
    assert {folder.name for folder in FOLDERS} == {*STEPS, *NO_STEPS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_component_imports_nothing_but_kfp_and_images(folder: Path):
    tree = ast.parse((folder / "component.py").read_text())
    modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert modules <= {"kfp", "kfp.dsl", "components", "typing"}


@pytest.mark.parametrize("folder", [f for f in FOLDERS if f.name not in NO_STEPS], ids=lambda folder: folder.name)
def test_a_component_hands_over_what_its_step_reads(folder: Path):
    tree = ast.parse((folder / "component.py").read_text())
    call = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "run_component"
    )
    name, _, given, _ = call.args
    assert ast.literal_eval(name) == folder.name
    assert isinstance(given, ast.Dict)
    assert {ast.literal_eval(key) for key in given.keys if key is not None} == set(STEPS[folder.name].reads)
