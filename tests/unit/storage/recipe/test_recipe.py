"""What a recipe is made of, and which part of it changed."""

from __future__ import annotations

import pytest

from llm.storage import Manifest, Recipe, Store
from llm.storage.recipe import Change, changes


def made(store: Store, kind: str, step: str) -> Manifest:
    with store.stage(kind, Recipe(step, {})) as stage:
        (stage.path / "x").write_text(step)
        return stage.commit()


def test_the_parts_are_named_as_a_person_names_them(store: Store):
    parents = [made(store, "evaluation", "a"), made(store, "checkpoint", "b"), made(store, "evaluation", "c")]
    inputs = {"file": {"x.jsonl": [1, "abc"]}, "python": "3.12"}
    recipe = Recipe("s", {"lr": 1.0, "sub": {"deep": [1]}, "none": {}}, parents, ("llm.model.size",), inputs)
    assert recipe.parts | {"code": list(recipe.parts["code"])} == {
        "config": {"lr": 1.0, "sub.deep": [1], "none": {}},
        "code": ["llm/model/size.py"],
        "library": {},
        "input": {"file x.jsonl": [1, "abc"], "python": "3.12"},
        "parent": {"evaluation": parents[0].id, "checkpoint": parents[1].id, "evaluation 2": parents[2].id},
    }


def test_very_many_files_are_remembered_by_one_hash():
    one, other = (Recipe("s", {}, inputs={"file": {f"{n}.txt": n + add for n in range(10_001)}}) for add in (0, 1))
    assert list(one.parts["input"]) == ["file (10,001 of them)"]
    assert one.parts["input"] != other.parts["input"]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"config": {"lr": 1}}, {"config": {"lr": 2}}, ["config lr 1 -> 2"]),
        ({"library": {"polars": "1"}}, {"library": {"polars": "2"}}, ["library polars 1 -> 2"]),
        ({"code": {"llm/a.py": "1"}}, {"code": {"llm/a.py": "2"}}, ["code llm/a.py"]),
        ({"input": {"file x": 1}}, {"input": {"file y": 1}}, ["input file x (gone)", "input file y (new)"]),
        ({"parent": {"corpus": "1"}}, {"parent": {"corpus": "2"}}, ["parent corpus"]),
        ({"config": {"domain": None}}, {"config": {"domain": "x"}}, ["config domain None -> x"]),
        ({"config": {"a": 1}}, {"config": {"a": 1}}, []),
        ({}, {"config": {"a": None}}, ["config a (new)"]),
    ],
)
def test_a_change_says_its_kind_and_its_name(before: dict, now: dict, words: list[str]):
    assert [str(change) for change in changes(before, now)] == words


def test_what_a_user_can_change_comes_before_the_code():
    found = changes({}, {"code": {"a": 1}, "config": {"b": 1}, "library": {"c": 1}, "input": {"d": 1}})
    assert [change.kind for change in found] == ["config", "input", "library", "code"]
    assert isinstance(found[0], Change)
