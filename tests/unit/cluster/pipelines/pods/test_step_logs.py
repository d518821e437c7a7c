"""Logs: from the pods, or through Kubeflow Pipelines where pods may not be read; and as they grow."""

from __future__ import annotations

from typing import Any

import pytest

from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.pods.step_logs import StepLog, StepLogs, follow_logs
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.wait import Limits
from llm.config import ClusterConfig
from tests.cases.submission import FAILED, LOG_OF_3
from tests.fakes.cluster import HandClock
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look
from tests.unit.cluster.pipelines.test_run_state import seen

NODE = "x7k2p.root.exit-handler-1"


def logs(api: KfpApi | None) -> StepLogs:
    return StepLogs(api, ClusterConfig())


def running(kfp: KfpServer, api: KfpApi) -> RunState:
    return seen(kfp, api, Look("RUNNING", {"ingest": "SUCCEEDED", "train": "RUNNING"}))


def test_of_a_step_that_was_tried_again_the_last_try_is_read(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run = running(kfp, api)
    pods.step_pod(run.id, "x7k2p.root(0).exit-handler-1(0).train(0).executor(0)", "Failed", "first")
    pods.step_pod(run.id, "x7k2p.root(0).exit-handler-1(0).train(0).executor(1)", "Running", "second")
    pods.step_pod(run.id, "x7k2p.root(0).exit-handler-1(0).train(1).executor(0)", "Pending", "not begun")
    pods.step_pod("another-run", "y.root.train.executor", "Running", "another's")
    read = logs(api).read(run, "train")
    assert read is not None
    assert read.text == "second\n"


def test_the_exit_handler_is_a_step_like_the_others(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run = running(kfp, api)
    pods.step_pod(run.id, "x7k2p.root.exit-handler-1.onExit.report.executor", log="the report")
    assert logs(api).read(run, "report") == StepLog("the report\n", f"pod pretrain-{len(pods.objects) - 1}")


def test_where_pods_may_not_be_read_kubeflow_pipelines_is_asked(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run = running(kfp, api)
    pods.step_pod(run.id, f"{NODE}.train.executor", "Running", "from the pod")
    pods.forbidden.add("pods")
    kfp.logs["one-x7k2p-retry-system-container-impl-1"] = "through KFP"
    source = logs(api)
    read = source.read(run, "train")
    assert read is not None
    assert (read.text, "through Kubeflow Pipelines" in read.source) == ("through KFP", True)
    assert "pods is forbidden" in source.why_no_pods
    assert source.read(run, "ingest") is None


def test_a_pod_with_labels_of_its_own_has_another_name(kfp: KfpServer, api: KfpApi):
    pod = {"labels": {"team": "a", "cost": "b"}, "annotations": {"note": "c"}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-train": {"podMetadata": pod}}}}}}
    run = seen(kfp, api, Look("RUNNING", {"ingest": "SUCCEEDED", "train": "RUNNING"}), platforms=platforms)
    kfp.logs["one-x7k2p-metadata-1-2-system-container-impl-1"] = "its own"
    read = logs(api).read(run, "train")
    assert read is not None
    assert read.text == "its own"


def test_with_argos_retries_the_failed_executors_pod_is_found_through_kubeflow_pipelines(kfp: KfpServer, api: KfpApi):
    run = seen(kfp, api, Look("FAILED", {**FAILED, "executor(0)": "FAILED", "executor": "FAILED"}))
    executor = list({**FAILED, "executor(0)": "FAILED", "executor": "FAILED"}).index("executor")
    kfp.logs[f"one-x7k2p-system-container-impl-{executor}"] = LOG_OF_3
    read = logs(api).read(run, "train")
    assert read is not None
    assert read.exit_status == 3


def test_without_any_cluster_it_says_why_there_are_no_pods(kfp: KfpServer, api: KfpApi):
    source = logs(api)
    assert source.read(running(kfp, api), "train") is None
    assert "kubeconfig" in source.why_no_pods


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                          "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}]},
         "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
        ({"containerStatuses": [{"image": "gristmill/train@sha256:0", "state": {"waiting": {
            "reason": "ErrImagePull", "message": "not found"}}}]}, "ErrImagePull: not found"),
        ({"initContainerStatuses": [{"image": "x", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}]},
         "CreateContainerConfigError: x"),
        ({"containerStatuses": [{"image": "x", "state": {"waiting": {"reason": "PodInitializing"}}}]}, None),
        ({"containerStatuses": [{"image": "x", "state": {"running": {}}}]}, None),
    ],
)  # fmt: skip
def test_what_keeps_a_step_from_starting_is_told(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer, status: dict[str, Any], trouble: str | None
):
    run = running(kfp, api)
    pods.step_pod(run.id, f"{NODE}.train.executor", "Pending", **status)
    assert logs(api).troubles(run.id) == ({"train": trouble} if trouble else {})


def test_a_pod_that_is_to_end_has_no_obstacle_and_an_image_of_kubeflow_pipelines_is_not_for_us_to_build(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer
):
    run = running(kfp, api)
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not\nfound"}}}
    for node, name in (("train.executor", "main"), ("train.executor", "wait"), ("gate-driver", "main")):
        pods.step_pod(run.id, f"{NODE}.{node}", "Pending", containerStatuses=[{"name": name, "image": "x", **waiting}])
    found = [pod.obstacle for pod in logs(api).held_up(run.id)]
    assert [one and ("make images" in one.details[1], one.details[0].partition(": ")[2]) for one in found] == [
        (True, "ErrImagePull: not found"), (False, "ErrImagePull: not found"), (False, "ErrImagePull: not found"),
    ]  # fmt: skip
    for path, one in pods.objects.items():
        if "/pods/" in path:
            one["metadata"]["deletionTimestamp"] = "2026-11-24T10:01:00Z"
    assert [pod.obstacle for pod in logs(api).held_up(run.id)] == [None] * 3


def follow(api: KfpApi, run: RunState, clock: HandClock, **options: Any) -> list[tuple[str | None, str]]:
    return list(follow_logs(api, run, logs(api), Limits(clock=clock), lambda line: None, **options))


def test_all_steps_are_told_in_their_order_or_only_one(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run = running(kfp, api)
    pods.step_pod(run.id, f"{NODE}.train.executor", "Running", "training\n")
    pods.step_pod(run.id, f"{NODE}.ingest.executor", log="ingesting\n")
    told = follow(api, run, HandClock())
    assert [text for _, text in told] == ["ingesting\n", "training\n"]
    assert [str(heading).split()[1] for heading, _ in told] == ["ingest", "train"]
    assert [text for _, text in follow(api, run, HandClock(), only="train")] == ["training\n"]


@pytest.mark.parametrize("through_pods", [True, False])
def test_a_growing_log_is_told_once_to_its_end(kfp: KfpServer, api: KfpApi, pods: ClusterServer, through_pods: bool):
    first = seen(kfp, api, Look("RUNNING", {"train": "RUNNING"}))
    kept, clock = kfp.runs[first.id], HandClock()
    pod = pods.step_pod(first.id, f"{NODE}.train.executor", "Running", "one\n")
    kfp.logs["one-x7k2p-system-container-impl-0"] = "one\n"
    pods.cuts = [1, 1, 1, 1]  # each stream breaks off, so that the next look comes
    if not through_pods:
        pods.forbidden.add("pods")

    def write(line: str) -> None:
        pods.logs[pod].append((pods.logs[pod][-1][0] + 1, line))
        kfp.logs["one-x7k2p-system-container-impl-0"] += f"{line}\n"

    def end() -> None:
        kept.script = [Look("SUCCEEDED", {"train": "SUCCEEDED"})]
        pods.pods()[pod]["status"] = {"phase": "Succeeded", "containerStatuses": [
            {"name": "main", "state": {"terminated": {"exitCode": 0}}}]}  # fmt: skip

    write("two") if through_pods else clock.after(3, lambda: write("two"))
    clock.after(5, lambda: write("drei – ☃"))
    clock.after(7, end)
    told = follow(api, first, clock, to_the_end=True)
    assert "".join(text for _, text in told) == "one\ntwo\ndrei – ☃\n"
    assert [heading is None for heading, _ in told] == [False, *[True] * (len(told) - 1)]


def test_a_cluster_that_goes_away_is_told_and_does_not_end_the_waiting(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer
):
    run = running(kfp, api)
    pods.step_pod(run.id, f"{NODE}.train.executor", "Running", "x")
    source = logs(api)
    pods.is_down = True
    assert source.troubles(run.id) == {}
    assert "does not answer" in source.why_no_pods
