"""Every way in which a run ends has its exit code, and its words."""

from __future__ import annotations

import re
import signal

import pytest

from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.outcome import CHANGED, Outcome, outcome
from llm.cluster.pipelines.pods.step_logs import StepLogs
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.wait import CannotStart
from llm.cluster.trainjobs.follower.diagnosis import Obstacle
from llm.config import ClusterConfig, compose
from llm.process.interrupts import Interrupted
from pipelines.pretrain import pretrain
from pipelines.wiring import sized
from tests.cases.submission import FAILED, LOG_OF_3, NOT_PROMOTED, PROMOTED
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look, Run
from tests.unit.cluster.pipelines.test_run_state import seen

NODE = "x7k2p.root.exit-handler-1"
BY_US = Interrupted(signal.SIGINT)


def end(kfp: KfpServer, api: KfpApi, *script: Look, cancelled_for: Interrupted | CannotStart | None = None) -> Outcome:
    run = seen(kfp, api, *script)
    return outcome(run, StepLogs(api, ClusterConfig()), cancelled_for)


def failed_run(kfp: KfpServer, api: KfpApi, steps: dict[str, str | None] = FAILED) -> tuple[RunState, Run]:
    run = seen(kfp, api, Look("FAILED", steps))
    return run, kfp.runs[run.id]


def test_success_is_0(kfp: KfpServer, api: KfpApi):
    assert end(kfp, api, Look("SUCCEEDED", PROMOTED)) == Outcome(0, None)


def test_a_gate_that_did_not_pass_is_4_although_the_run_succeeded(kfp: KfpServer, api: KfpApi):
    ended = end(kfp, api, Look("SUCCEEDED", NOT_PROMOTED))
    assert ended.exit_code == 4
    assert "registered, but not promoted" in str(ended.message)


def test_a_run_whose_products_were_all_there_is_0(kfp: KfpServer, api: KfpApi, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("components.images.ARE_PINNED", True)
    nodes = {"reuse": "SUCCEEDED", "condition-2": "SKIPPED", "report": "SUCCEEDED"}
    run = seen(kfp, api, Look("SUCCEEDED", nodes), pipeline=sized(pretrain, compose()))
    assert run.untaken_conditions == {CHANGED}
    assert [node.name for node in run.steps] == ["reuse", "report"]
    assert outcome(run, StepLogs(api, ClusterConfig())) == Outcome(0, None)
    nodes |= {"condition-2": "SUCCEEDED", "gate": "SUCCEEDED", "condition-3": "SKIPPED"}
    run = seen(kfp, api, Look("SUCCEEDED", nodes), pipeline=sized(pretrain, compose()))
    assert outcome(run, StepLogs(api, ClusterConfig())).exit_code == 4


@pytest.mark.parametrize(
    ("script", "cancelled_for"),
    [
        ([Look("CANCELED")], None),
        ([Look("RUNNING"), Look("CANCELING"), Look("FAILED", FAILED)], None),
        ([Look("RUNNING"), Look("FAILED", FAILED)], BY_US),
    ],
)
def test_a_cancelled_run_is_75_whatever_state_the_server_gives_it(
    kfp: KfpServer, api: KfpApi, script: list[Look], cancelled_for: Interrupted | None
):
    ended = end(kfp, api, *script, cancelled_for=cancelled_for)
    assert ended.exit_code == 75
    assert "go on" in str(ended.message)


def test_a_run_that_was_cancelled_as_a_step_could_not_start_is_2_unless_it_came_to_its_end(kfp: KfpServer, api: KfpApi):
    cause = CannotStart("train", Obstacle("image", "train cannot start: no image", ("pod one: ErrImagePull",), 60.0))
    ended = end(kfp, api, Look("CANCELING"), Look("FAILED", FAILED), cancelled_for=cause)
    assert (ended.exit_code, ended.step, ended.has_begun) == (2, "train", False)
    assert ended.message == (
        "train cannot start: no image\n  pod one: ErrImagePull\n  The run was cancelled: submit the same again to go on"
    )
    assert end(kfp, api, Look("SUCCEEDED", PROMOTED), cancelled_for=cause) == Outcome(0, None)


def test_a_run_that_was_skipped_did_nothing_and_is_2(kfp: KfpServer, api: KfpApi):
    ended = end(kfp, api, Look("SKIPPED"))
    assert (ended.exit_code, "nothing was done" in str(ended.message)) == (2, True)


def test_a_failed_step_ends_with_its_own_code_and_words(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run, _ = failed_run(kfp, api)
    pods.step_pod(run.id, f"{NODE}.ingest.executor", log="fine")
    pods.step_pod(run.id, f"{NODE}.train-driver", log="the driver's")
    pods.step_pod(run.id, f"{NODE}.train.executor", "Failed", LOG_OF_3)
    ended = outcome(run, StepLogs(api, ClusterConfig()))
    assert (ended.exit_code, ended.step) == (3, "train")
    assert ended.message == "train: the corpus did not pass its suite\n  Fix the documents below."
    assert ended.log is not None
    assert ended.log.tail(1) == ["  Fix the documents below."]


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        ("main.go:53] failed to execute component: exit status 2", 2, "train: failed with exit status 2"),
        ("main.go:53] failed to execute component: exit status 75", 75, "train: failed with exit status 75"),
        ("Traceback …\nmain.go:53] failed to execute component: exit status 1", 70, "train: failed with exit status 1"),
        ("main.go:53] failed to execute component: signal: killed\nError: exit status 1", 70, "train: failed"),
        ("error: no room\nmain.go:53] failed to execute component: failed to publish execution with error x after"
         " execution failed: exit status 2", 2, "train: no room"),
    ],
)  # fmt: skip
def test_a_code_that_is_none_of_ours_is_70(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer, log: str, code: int, words: str
):
    run, _ = failed_run(kfp, api)
    pods.step_pod(run.id, f"{NODE}.train.executor", "Failed", log)
    ended = outcome(run, StepLogs(api, ClusterConfig()))
    assert (ended.exit_code, ended.message) == (code, words)


def test_a_failed_step_without_a_log_is_70_and_says_so(kfp: KfpServer, api: KfpApi):
    ended = end(kfp, api, Look("FAILED", FAILED))
    assert (ended.exit_code, ended.message) == (70, "train failed, and its log cannot be read")


def test_a_driver_that_failed_is_the_clusters_and_2_with_argos_reason(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run, _ = failed_run(kfp, api, {"ingest": "SUCCEEDED", "train-driver": "FAILED"})
    pods.step_pod(run.id, f"{NODE}.train-driver", "Failed", "KFP driver: failed to resolve inputs")
    pods.put(
        "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows/x7k2p",
        metadata={"labels": {"pipeline/runid": run.id}},
        status={"message": "child failed", "nodes": {"1": {"type": "DAG", "message": "no"}}},
    )
    ended = outcome(run, StepLogs(api, ClusterConfig()))
    assert (ended.exit_code, ended.message) == (2, "train could not be prepared: child failed")
    assert ended.log is not None
    assert ended.log.text == "KFP driver: failed to resolve inputs\n"


def test_a_run_whose_pods_could_not_be_made_is_2_with_argos_reason(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    run, _ = failed_run(kfp, api, {})
    message = 'pods "x" is forbidden: error looking up service account kubeflow/none: serviceaccount "none" not found'
    pods.put(
        "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows/x7k2p",
        metadata={"labels": {"pipeline/runid": run.id}},
        status={"message": "failed", "nodes": {"1": {"type": "Pod", "name": "x7k2p.root-driver", "message": message}}},
    )
    ended = outcome(run, StepLogs(api, ClusterConfig()))
    assert ended.exit_code == 2
    assert "the run cannot start: there is no service account none in its namespace" in str(ended.message)


def test_the_servers_own_error_of_a_run_is_told(kfp: KfpServer, api: KfpApi):
    ended = end(kfp, api, Look("FAILED", error="Failed to convert internal run representation"))
    assert ended.exit_code == 2
    assert "no step of it failed: Failed to convert" in str(ended.message)


LIMITED = {"containers": [{"name": "main", "resources": {"limits": {"memory": "4Gi"}}}]}


def killed(reason: str) -> list[dict[str, object]]:
    return [{"name": "main", "state": {"terminated": {"exitCode": 137, "reason": reason}}}]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ({"containerStatuses": killed("OOMKilled")}, 2,
         r"train: its pod \S+ was killed for lack of memory \(OOMKilled; its limit is 4Gi\)\n  Raise"
         r" pods\.steps\.train\.memory_limit"),
        ({"containerStatuses": None, "reason": "OutOfmemory", "message": "Node didn't have enough resource"}, 75,
         r"train: its pod \S+ was ended by its node: OutOfmemory: Node didn't have enough resource\n  Submit the same"),
        ({"containerStatuses": killed("Error"), "reason": "Evicted", "message": "low on resource: memory"}, 75,
         r"train: its pod \S+ was ended by its node: Evicted: low on resource: memory\n"),
        ({"containerStatuses": killed("Error"), "reason": "DeadlineExceeded", "message": "Pod was active too long"}, 2,
         r"train: its pod \S+ took longer than it may\n  Raise pods\.steps\.train\.timeout_seconds"),
    ],
)  # fmt: skip
def test_a_step_that_ended_without_a_word_of_its_own_is_told_by_its_pod(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer, status: dict[str, object], code: int, words: str
):
    run, _ = failed_run(kfp, api)
    name = pods.step_pod(run.id, f"{NODE}.train.executor", "Failed", "step 3/40\n", **status)
    pods.objects[f"/api/v1/namespaces/kubeflow/pods/{name}"]["spec"] = LIMITED  # type: ignore[index]
    ended = outcome(run, StepLogs(api, ClusterConfig()))
    assert ended.exit_code == code
    assert re.match(words, str(ended.message))


@pytest.mark.parametrize(
    ("argo", "code", "words"),
    [
        ("pod deleted", 75, "train: its pod is gone: pod deleted\n  Submit the same again to go on."),
        ("OOMKilled (exit code 137)", 2, "train: its pod was killed for lack of memory (OOMKilled)\n  Raise pods."),
        ("task result of x is missing", 70, "train failed, and its log cannot be read: task result of x is missing"),
    ],
)
def test_a_step_whose_pod_is_gone_is_told_by_the_workflow(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer, argo: str, code: int, words: str
):
    run, _ = failed_run(kfp, api)
    nodes = {"1": {"type": "Pod", "name": f"{NODE}.ingest.executor", "message": "another step", "phase": "Succeeded"},
             "2": {"type": "Pod", "name": f"{NODE}.train.executor(0)", "message": argo, "phase": "Error"}}  # fmt: skip
    pods.put(
        "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows/x7k2p",
        metadata={"labels": {"pipeline/runid": run.id}}, status={"message": "child failed", "nodes": nodes},
    )  # fmt: skip
    ended = outcome(run, StepLogs(api, ClusterConfig()))
    assert ended.exit_code == code
    assert str(ended.message).startswith(words)
