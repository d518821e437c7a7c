"""What a setting decides is said once, at its field; recipes, names and pages follow from it."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from llm.config import Decides, PodConfig, RunConfig, compose, deciding, marked
from llm.config.decides import ADDED, COURSE, NOTHING
from llm.config.sections.base import Section
from llm.runs import run_name
from llm.tracking.points import parameters

NOT_OF_THE_RESULT = {
    "input": {"data.path", "tokenizer.adopted", "training.start_from", "training.grow"},
    "course": {
        "training.pool",
        "training.queue",
        "training.priority",
        "training.checkpoints.every_steps",
        "training.checkpoints.keep",
        "training.checkpoints.keep_every_steps",
        "training.checkpoints.keep_best",
        "training.budget.price",
        "training.budget.device_hours",
        "training.budget.money",
        "training.on_change",
        "training.guards.hang_seconds",
        "training.guards.slow_rank_factor",
        "training.compute.recompute",
        "training.compute.recompute_every",
        "storage.uri",
        "cluster.namespace",
        "cluster.gpu_resource",
        "training.parallel.rendezvous",
        "cluster.kfp_uri",
        "cluster.service_account",
        "cluster.run_as_user",
        "cluster.unschedulable_after_seconds",
        "cluster.timeout_seconds",
        "run.folder",
        "run.retrain",
    },
    "nothing": {
        "tracking.uri",
        "tracking.experiment",
        "tracking.model",
        "tracking.sinks",
        "tracking.timeout_seconds",
        "plan.device",
        "plan.memory",
        "plan.memory_share",
        "plan.share_of_peak",
        "costs.cpu_hour",
        "costs.memory_gib_hour",
        "costs.accelerator_hour",
        "costs.currency",
        "costs.team_label",
        "cluster.experiment",
        "run.name",
        *(f"pods.all.{name}" for name in PodConfig.model_fields),
        "pods.steps",
    },
}
"""The fields that leave a recipe: each is wanted. A new name needs a reason why it changes no byte of a product."""


class Inner(Section):
    """A section in a section."""

    lr: float = 1.0
    port: Annotated[int, NOTHING] = 1


class Outer(Section):
    """A section with marks of every kind."""

    plain: int = 1
    every: Annotated[int, COURSE] = 2
    inner: Inner = Inner()
    course: Annotated[Inner, COURSE] = Inner()


@pytest.mark.parametrize("mark", [one for one in Decides if one is not Decides.RESULT])
def test_every_setting_that_leaves_the_recipes_is_a_wanted_one(mark: Decides):
    assert {key for key, _, one in marked(RunConfig) if one is mark} == NOT_OF_THE_RESULT[mark.value]


def test_a_field_without_a_mark_decides_the_result_or_what_its_section_decides():
    assert {key: one.value for key, _, one in marked(Outer)} == {
        "plain": "result",
        "every": "course",
        "inner.lr": "result",
        "inner.port": "nothing",
        "course.lr": "course",
        "course.port": "nothing",
    }


def test_the_deciding_settings_are_plain_data_without_sections_that_decide_nothing():
    assert deciding(Outer()) == {"plain": 1, "inner": {"lr": 1.0}}
    assert deciding(Outer(), COURSE) == {"every": 2, "course": {"lr": 1.0}}


def test_a_mapping_of_sections_is_deciding_entry_by_entry():
    class Mapping(Section):
        """Sections by name."""

        rules: dict[str, Inner] = Field(default_factory=lambda: {"a": Inner()})

    assert deciding(Mapping()) == {"rules": {"a": {"lr": 1.0}}}


@pytest.mark.parametrize(
    "override",
    ["cluster.experiment=other", "storage.uri=elsewhere", "training.checkpoints.keep=3",
     "training.checkpoints.every_steps=7", "tracking.uri=http://mlflow:5000", "run.retrain=true"],
)  # fmt: skip
def test_what_does_not_decide_the_result_does_not_change_the_name_of_the_run(override: str):
    assert run_name("pretrain", compose([override])) == run_name("pretrain", compose())


@pytest.mark.parametrize(
    "override", ["training.optimizer.lr=1e-4", "data.path=texts", "serving.max_slots=4", "evaluation.seed=1"]
)
def test_what_decides_the_result_changes_the_name_of_the_run(override: str):
    assert run_name("pretrain", compose([override])) != run_name("pretrain", compose())


def test_mlflow_gets_the_settings_that_the_name_of_the_run_follows():
    wanted = {
        key for key, field, one in marked(RunConfig)
        if one in (Decides.RESULT, Decides.INPUT) and ADDED not in field.metadata
        and not key.startswith(("training.loss.", "training.mask."))
    }  # fmt: skip
    sent = {key for key in parameters(RunConfig()) if not key.startswith("gate.metrics.")}
    of_choices = {"training.optimizer.weight_decay", "training.optimizer.beta1", "training.optimizer.beta2",
                  "training.schedule.min_lr_fraction"}  # fmt: skip
    assert sent == wanted - {"gate.metrics"} | of_choices, "a mapping is sent entry by entry, a choice with its own"


class Later(Section):
    """A section that grew."""

    old: int = 1
    new: Annotated[int | None, ADDED] = None
    inner: Annotated[Inner, ADDED] = Inner()


def test_a_setting_that_came_later_is_left_out_while_it_has_its_default():
    assert deciding(Later()) == {"old": 1}
    assert deciding(Later(new=3)) == {"old": 1, "new": 3}
    assert deciding(Later(inner=Inner(lr=2.0))) == {"old": 1, "inner": {"lr": 2.0}}
