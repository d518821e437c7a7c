"""The compiled pretrain package: a golden copy shows any change, and the conditions that matter are spelled out."""

from __future__ import annotations

import re

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from llm.cluster.pipelines.outcome import CHANGED
from llm.config import compose
from llm.steps import STEPS, Step, steps_of
from pipelines.pretrain import pretrain
from pipelines.wiring import sized
from tests.cases.kfp_pods import resources_of


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


def test_every_pod_is_a_user_without_rights_and_asks_for_something(package: str):
    pipeline, pods = parts(package)
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        assert pods[name]["securityContext"] == {"runAsUser": "1000", "runAsGroup": "1000", "runAsNonRoot": True}
        asked = resources_of(executor["container"]["resources"])
        assert asked == {
            "requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"},
        }  # fmt: skip


def test_a_configuration_sizes_and_places_the_pods_of_its_own_package_only(package: str):
    config = compose(
        [
            "pods.all.labels.team=a", "pods.all.annotations.note=b", "pods.all.node_selector.pool=steps",
            "pods.all.tolerations=[{key: steps, operator: Exists}, {key: x, value: y, effect: NoSchedule}]",
            "pods.steps.train.accelerator=nvidia.com/gpu", "pods.steps.train.accelerators=2",
            "pods.steps.train.memory_limit=16Gi", "pods.steps.train.timeout_seconds=600",
            "pods.steps.train.queue=team-a", "pods.steps.train.priority=urgent", "cluster.run_as_user=null",
        ]
    )  # fmt: skip
    made = sized(pretrain, config)
    assert limits(made) == {"cpu": "2", "memory": "16Gi", "nvidia.com/gpu": "2"}
    pods = json_format.MessageToDict(made.platform_spec)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert pods["exec-gate"]["podMetadata"] == {
        "labels": {"team": "a", "gristmill.io/step": "gate"}, "annotations": {"note": "b"},
    }  # fmt: skip
    assert pods["exec-gate"]["nodeSelector"] == {"labels": {"pool": "steps"}}
    assert pods["exec-gate"]["tolerations"] == [
        {"key": "steps", "operator": "Exists"},
        {"key": "x", "operator": "Equal", "value": "y", "effect": "NoSchedule"},
    ]
    assert pods["exec-gate"]["securityContext"] == {"runAsNonRoot": True}
    assert "activeDeadlineSeconds" not in pods["exec-gate"]
    assert pods["exec-train"]["activeDeadlineSeconds"] == "600"
    assert pods["exec-train"]["podMetadata"]["labels"] == {
        "team": "a", "kueue.x-k8s.io/queue-name": "team-a", "kueue.x-k8s.io/priority-class": "urgent",
        "gristmill.io/step": "train",
    }  # fmt: skip
    assert limits(pretrain)["memory"] == "4Gi"


def limits(pipeline: GraphComponent) -> dict[str, str]:
    """The limits of the training's container."""
    document = json_format.MessageToDict(pipeline.pipeline_spec)
    return dict(resources_of(document["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"])["limits"])


def test_in_a_cluster_a_search_comes_first_if_the_images_are_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("components.images.ARE_PINNED", True)
    made = json_format.MessageToDict(sized(pretrain, compose()).pipeline_spec)
    groups = {name: one["dag"]["tasks"] for name, one in made["components"].items() if "dag" in one}
    first, changed = sorted(groups["comp-exit-handler-1"], reverse=True)
    assert first == "reuse"
    task = groups["comp-exit-handler-1"][changed]
    assert task["taskInfo"]["name"] == CHANGED
    assert re.fullmatch(r".*reuse-Output'\]\) == 1", task["triggerPolicy"]["condition"])
    assert {*groups[f"comp-{changed}"]} > {name for name, step in STEPS.items() if step.only_if is None}
    monkeypatch.setattr("components.images.ARE_PINNED", False)
    assert "comp-reuse" not in json_format.MessageToDict(sized(pretrain, compose()).pipeline_spec)["components"]


def test_on_one_machine_no_search_comes_first(package: str):
    assert "reuse" not in tasks(package)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_training_on_gpus_is_told_the_image_with_cuda_for_its_pods(
    device: str, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipelines.wiring.cuda_image", lambda: "gristmill/train-cuda@sha256:1")
    path = tmp_path / "package.yaml"
    compiler.Compiler().compile(sized(pretrain, compose([f"training.compute.device={device}"])), str(path))
    executors = parts(path.read_text())[0]["deploymentSpec"]["executors"]
    told = {name: one["container"].get("env", []) for name, one in executors.items()}
    wanted = [{"name": "GRISTMILL_TRAIN_IMAGE", "value": "gristmill/train-cuda@sha256:1"}] if device == "cuda" else []
    assert told.pop("exec-train") == wanted
    assert not any(told.values())
