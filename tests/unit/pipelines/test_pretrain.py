"""The compiled pretrain package: a golden copy shows any change, and the conditions that matter are spelled out."""

from __future__ import annotations

import re

import pytest
import yaml
from kfp import compiler

from llm.steps import STEPS, Step, steps_of
from pipelines.pretrain import pretrain


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("package") / "pretrain.yaml"
    compiler.Compiler().compile(pretrain, str(path))
    return path.read_text()


def parts(package: str) -> tuple[dict, dict]:
    """The pipeline, and what only a cluster reads of it."""
    pipeline, platforms = yaml.safe_load_all(package)
    return pipeline, platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(package: str) -> dict[str, dict]:
    """Every task of the package by name, whatever group it is in."""
    document, _ = parts(package)
    groups = [document["root"], *document["components"].values()]
    return {name: task for group in groups for name, task in group.get("dag", {}).get("tasks", {}).items()}


def test_the_package_is_the_golden_one(package: str, golden):
    of_any_sdk = re.sub(r"sdkVersion: .*", "sdkVersion: any", package)
    golden("pretrain.yaml", re.sub(r"image: .*/(\w+)[:@].*", r"image: \1", of_any_sdk))


@pytest.mark.parametrize("name", [*STEPS, "report"])
def test_what_must_happen_anew_is_never_cached(package: str, name: str):
    assert not tasks(package)[name]["cachingOptions"].get("enableCache", False)


@pytest.mark.parametrize("step", steps_of("pretrain"), ids=lambda step: step.name)
def test_a_task_gets_what_its_step_reads_and_waits_for_the_steps_before_it(package: str, step: Step):
    task = tasks(package)[step.name]
    artifacts = task["inputs"].get("artifacts", {})
    assert set(artifacts) == {STEPS[source].makes.name for source in step.reads}
    group = {name for name, other in STEPS.items() if other.only_if == step.only_if}
    assert set(task.get("dependentTasks", [])) == {*step.reads, *step.after} & group


def test_promotion_waits_for_a_whole_number_from_the_gate(package: str):
    group = next(task for task in tasks(package).values() if "condition" in task.get("triggerPolicy", {}))
    assert re.search(r"== 1\b", group["triggerPolicy"]["condition"])
    document, _ = parts(package)
    assert document["components"]["comp-gate"]["outputDefinitions"]["parameters"]["Output"]["parameterType"] == (
        "NUMBER_INTEGER"
    )


def test_the_report_is_written_whatever_happened(package: str):
    assert tasks(package)["report"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_every_pod_knows_its_run(package: str):
    _, executors = parts(package)
    fields = [one["fieldPathAsEnv"] for one in executors.values()]
    assert len(fields) == len(STEPS) + 1, "each step, and the report"
    assert all(
        one == [{"name": "GRISTMILL_KFP_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}] for one in fields
    )


def test_the_pods_install_nothing(package: str):
    assert "pip install" not in package


def test_every_pod_has_the_settings_and_keys_of_the_platform_chart(package: str):
    pipeline, pods = parts(package)
    assert set(pods) == set(pipeline["deploymentSpec"]["executors"])
    for pod in pods.values():
        assert [one["configMapName"] for one in pod["configMapAsEnv"]] == ["gristmill-environment"]
        assert [one["secretName"] for one in pod["secretAsEnv"]] == ["gristmill-s3", "gristmill-mlflow"]
        assert all(one["optional"] for one in (*pod["configMapAsEnv"], *pod["secretAsEnv"]))
