"""How a training on a cluster fails once its pods are made, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cases.cluster import wait_for
from tests.cluster.training.case import ON_THE_POOL, Case, gristmill


def test_a_bad_configuration_fails_the_step_with_the_trainers_own_words(case: Case):
    config = case.config("diverging", *ON_THE_POOL, "training.optimizer.lr=1e30", store="-diverging")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    assert re.search(r"error: .*the training diverged(.|\n)*Lower training.optimizer.lr", case.log(launcher))


@pytest.mark.parametrize(
    ("pool", "short"), [("gpu", r"Insufficient nvidia.com/gpu"), ("nowhere", r"node affinity/selector")]
)
def test_pods_that_no_node_has_room_for_name_what_is_short(case: Case, pool: str, short: str):
    pods = [f"training.pool={pool}", "training.parallel.nodes=2", "training.parallel.processes=1"]
    config = case.config(f"short-{pool}", *pods, store="-short")
    launcher = case.launch(config)
    assert case.end(launcher) == "Failed"
    assert re.search(rf"error: (.|\n)*{short}", case.log(launcher))
    assert re.search(rf"error: (.|\n)*{pool}", case.log(launcher))
    wait_for(lambda: case.train_job(f"short-{pool}") is None, "the TrainJob to be gone")


def test_two_runs_with_one_name_are_not_mixed(case: Case):
    config = case.config("twice", *ON_THE_POOL, "training.length.steps=2000", store="-twice")
    launcher = case.launch(config)
    case.wait_for_step("twice", 1)
    other = case.launch(case.config("twice", *ON_THE_POOL, "training.length.steps=2001", store="-twice"))
    assert case.end(other) == "Failed"
    assert re.search(r"error: .*twice", case.log(other))
    job = case.train_job("twice")
    assert job is not None, "the first goes on"
    assert gristmill("cancel", "twice", f"cluster.namespace={case.namespace}").returncode == 0
    assert case.end(launcher) == "Failed"


def test_an_image_that_is_not_on_the_nodes_is_named(case: Case, tmp_path: Path):
    wrong = f"gristmill/train@sha256:{'0' * 64}"
    done = case.run_here(tmp_path, *ON_THE_POOL, environment={"GRISTMILL_TRAIN_IMAGE": wrong})
    assert done.returncode == 2
    assert re.search(rf"error: (.|\n)*{wrong}", done.stderr)
    wait_for(lambda: case.train_job("workstation") is None, "the TrainJob to be gone")
