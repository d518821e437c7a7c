"""A pipeline is built without a walk over the stack, and KFP's own check of a setting is kept."""

from __future__ import annotations

import re

import pytest
from kfp import dsl
from kfp.dsl.pipeline_task import PipelineTask

from llm.cli.run import load_pipeline
from llm.cluster.pipelines.quick_tasks import make_tasks_quick
from llm.config import RunConfig
from tests.cases.submission import small


def test_no_setting_of_a_pod_looks_at_the_whole_stack(monkeypatch: pytest.MonkeyPatch):
    words = "the check of KFP, which reads the whole stack, was asked"
    monkeypatch.setattr(PipelineTask, "_ensure_container_spec_exists", lambda task: pytest.fail(words))
    load_pipeline("pretrain", RunConfig())


@pytest.mark.parametrize(
    ("setting", "value"), [("set_cpu_request", "1"), ("set_cpu_limit", "1"), ("set_memory_request", "1G")]
)
def test_a_setting_of_a_task_that_is_no_container_is_refused_by_its_name(setting: str, value: str):
    make_tasks_quick()
    words = re.escape(f"{setting} can only be used on single-step components, not pipelines used as components, or")

    @dsl.pipeline(name="outer")
    def outer():  # KFP reads the names of the types
        with pytest.raises(ValueError, match=words):
            getattr(small(config=""), setting)(value)
