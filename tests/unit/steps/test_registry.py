"""The steps stand once, each in its module; order, commands, components and images follow from it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from llm.steps import STEPS, Step, steps_of
from llm.steps.registry import in_order

PROJECT = Path(__file__).parents[3]


def step(name: str, *reads: str, **more) -> Step:
    return Step(name, reads, lambda context, given: None, **more)  # type: ignore[arg-type, return-value]


def test_the_order_of_the_path_follows_from_what_each_step_waits_for():
    assert list(STEPS) == [
        "ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "gate", "export", "register", "promote",
        "deploy",
    ]  # fmt: skip
    assert [one.name for one in steps_of("pretrain")] == list(STEPS)


def test_a_step_comes_after_what_it_reads_what_it_follows_and_the_verdict_it_needs():
    steps = [step("a", "c"), step("b", after=("a",)), step("c", only_if="d"), step("d")]
    assert list(in_order(steps)) == ["d", "c", "a", "b"]


def test_a_step_that_reads_what_no_step_makes_is_refused():
    with pytest.raises(ValueError, match="step toy waits for nowhere, and there is no such step"):
        in_order([step("toy", "nowhere")])


def test_steps_that_wait_for_one_another_are_refused():
    with pytest.raises(ValueError, match="cycle"):
        in_order([step("a", "b"), step("b", "a")])


@pytest.mark.parametrize("one", STEPS.values(), ids=lambda one: one.name)
def test_a_step_runs_in_an_image_that_is_built(one: Step):
    assert one.image in tomllib.loads((PROJECT / "images" / "images.toml").read_text())


@pytest.mark.parametrize("one", STEPS.values(), ids=lambda one: one.name)
def test_a_step_says_what_it_does_in_one_sentence(one: Step):
    assert one.purpose.endswith(".")
    assert "\n" not in one.purpose
    assert one.purpose != Step.purpose


def test_products_have_names_of_their_own():
    names = [one.makes.name for one in STEPS.values()]
    assert len(set(names)) == len(names)
