"""Sizes of pods are held against the steps: a step that is not there, an accelerator that a step cannot use."""

from __future__ import annotations

import pytest

from llm.config import compose
from llm.errors import UserError
from llm.steps.pods import check_pods

GPU = ("accelerator=nvidia.com/gpu", "accelerators=1")


@pytest.mark.parametrize("step", ["train", "evaluate", "export", "gate"])
def test_a_step_whose_image_has_torch_may_have_an_accelerator(step: str):
    check_pods(compose([f"pods.steps.{step}.{setting}" for setting in GPU]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["pods.steps.trian.cpu_limit=1"], "there is no step trian\n  Did you mean train?"),
        (
            [f"pods.steps.ingest.{one}" for one in GPU],
            "the step ingest runs in the image data, which cannot use nvidia",
        ),
        ([f"pods.steps.report.{one}" for one in GPU], "the step report runs in the image registry"),
        ([f"pods.all.{one}" for one in GPU], "most steps have no use for nvidia.com/gpu\n  Name the step"),
        (
            [*(f"pods.steps.train.{one}" for one in GPU), "training.pool=gpu", "storage.uri=s3://b/p"],
            "with training.pool=gpu the step only follows the training\n  Leave it out: the pool gpu says",
        ),
    ],
)
def test_what_no_step_would_use_is_refused(settings: list[str], said: str):
    with pytest.raises(UserError, match=said):
        check_pods(compose(settings))


def test_the_report_has_a_pod_too():
    check_pods(compose(["pods.steps.report.memory_limit=8Gi"]))
