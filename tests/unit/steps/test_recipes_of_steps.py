"""What a step's recipe is made of covers all that the step runs, for every step that there is."""

from __future__ import annotations

import ast
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import llm
from llm.config import compose
from llm.images import libraries
from llm.steps import STEPS
from llm.storage.recipe import pinned
from llm.storage.recipe.libraries import version_of
from llm.storage.recipe.sources import imported_by, libraries_of, reached

PROJECT = Path(__file__).parents[3]
WINDOWED = ["model.layer_types=[sliding_attention]", "model.sliding_window=64", "training.compute.attention=triton"]
MAKES_RECIPES = {name for name in STEPS if name not in ("register", "promote")}
"""The outcome of the other two is in MLflow, and nothing of it is found again."""


IDENTITY = "llm.training.identity"
"""Its recipes name checkpoints, and no product is found by them."""


def work_of(step: str) -> dict[str, Path]:
    """The modules that the body of a step reaches, by name."""
    return reached(*imported_by(f"llm.steps.bodies.{step}"))


def recipe_roots(modules: dict[str, Path]) -> dict[str, list[str]]:
    """For every module that makes recipes: the `code` of each, as it is written."""
    found: dict[str, list[str]] = {}
    for module, path in modules.items():
        if module == IDENTITY:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Recipe":
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                found.setdefault(module, []).append(given.get("code", "nothing"))
    return found


def test_every_recipe_names_the_module_that_does_the_work():
    modules = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts): path
        for path in Path(llm.__file__).parent.rglob("*.py")
    }
    found = recipe_roots(modules)
    assert "llm.training.train" in found
    for module, written in found.items():
        assert all(re.match(r"\(__name__, ?", code) for code in written), module


@pytest.mark.parametrize("step", sorted(MAKES_RECIPES))
def test_all_that_a_step_runs_is_in_a_recipe_that_it_makes(step: str):
    work = work_of(step)
    roots = recipe_roots(work)
    assert roots, "the step makes a recipe"
    covered = reached(*roots)
    assert set(work) - set(covered) <= {module for module in work if module.startswith("llm.registry")}


@pytest.mark.parametrize("step", sorted(MAKES_RECIPES))
def test_every_library_of_a_recipe_is_pinned_in_the_image_of_its_step(step: str):
    pins = (PROJECT / "images" / STEPS[step].image / "requirements.txt").read_text().lower().replace("_", "-")
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", pins, re.MULTILINE))
    assert set(libraries_of(*recipe_roots(work_of(step)))) <= pinned


@pytest.mark.parametrize("step", sorted(MAKES_RECIPES))
def test_the_pins_of_its_image_stand_for_the_libraries_of_a_step(step: str):
    roots = recipe_roots(work_of(step))
    here, pins = libraries_of(*roots), libraries(STEPS[step].image)
    with pinned(pins):
        assert libraries_of(*roots) == here, "is the name of a distribution another than the one that is imported?"
    with pinned(dict.fromkeys(pins, "0.0.1+cpu")):
        assert libraries_of(*roots) == dict.fromkeys(here, "0.0.1")
    with pinned({}):
        assert libraries_of(*roots) == {}


def test_a_library_that_a_step_uses_without_an_import_is_one_of_the_pins():
    with pinned({"Pandas": "1.2.3"}):
        assert version_of("pandas") == "1.2.3"
    with pinned({}), pytest.raises(PackageNotFoundError):
        version_of("pandas")


def test_a_step_that_reads_a_split_holds_the_code_that_reads_it():
    for step in ("evaluate", "export", "tokenize", "tokenizer"):
        assert "llm.data.documents" in reached(*recipe_roots(work_of(step))), step


def test_a_library_for_one_setting_is_in_the_recipes_of_that_setting_alone():
    plain, windowed = compose([]).training, compose(WINDOWED).training
    assert not {"triton", "torchao"} & set(libraries_of("llm.training.train", *plain.modules))
    assert set(windowed.modules) - set(plain.modules) == {"llm.model.kernels.sliding_window"}
    assert reached(*windowed.modules).keys() >= {"llm.model.kernels.sliding_window"}
    assert "triton" not in libraries_of(*windowed.modules), "the image of a launcher has none"
    coarse = compose(["training.compute.precision=fp8", "training.parallel.backend.name=torch"]).training.compute
    assert coarse.modules == ["llm.training.rank.float8"]
