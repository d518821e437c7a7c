"""A pod that the API server refuses is explained at once: the step, the reason, and what to do."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.outcome import outcome
from llm.cluster.pipelines.pods.refused import RefusedPod, refused_in_events, refused_in_nodes
from llm.cluster.pipelines.pods.step_logs import StepLogs, own_lines
from llm.cluster.pipelines.wait import CannotStart, Limits, RunPrinter, wait
from llm.config import ClusterConfig
from tests.cases.submission import FAILED, LOG_OF_3
from tests.fakes.cluster import HandClock
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look
from tests.unit.cluster.pipelines.test_run_state import seen

WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"
NODE = "x7k2p.root(0).exit-handler-1(0).train(0).executor(0)"
FORBIDDEN = 'pods "x7k2p-system-container-impl-1" is forbidden: '
SECURITY = FORBIDDEN + (
    'violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "main" must set'
    " securityContext.runAsNonRoot=true)"
)
FULL = (
    FORBIDDEN + "exceeded quota: team, requested: limits.memory={}, used: limits.memory=3Gi, limited: limits.memory=4Gi"
)
INCOMPLETE = FORBIDDEN + "failed quota: team: must specify limits.cpu for: main,wait; requests.cpu for: wait"
RANGE = FORBIDDEN + "[maximum cpu usage per Container is 2, but limit is 4, maximum memory usage per Container is 1Gi]"
WEBHOOK = 'admission webhook "policy.example.org" denied the request: label team is missing'
ACCOUNT = FORBIDDEN + 'error looking up service account kubeflow/gone: serviceaccount "gone" not found'


def workflow(message: str, **nodes: Any) -> dict[str, Any]:
    """A Workflow whose training was refused."""
    refused = {"type": "Pod", "name": NODE, "phase": "Error", "message": message}
    return {"status": {"nodes": {"dag": {"type": "DAG", "name": "x7k2p"}, "refused": refused, **nodes}}}


def only(message: str) -> RefusedPod:
    (one,) = refused_in_nodes(workflow(message))
    return one


@pytest.mark.parametrize(
    ("message", "summary", "advice", "patience"),
    [
        (SECURITY, "PodSecurity restricted:latest of the namespace refuses its pod: runAsNonRoot != true", "user", 0),
        (FULL.format("5Gi"), "can never start: it asks for limits.memory=5Gi, and the quota team of the namespace"
         " allows limits.memory=4Gi in all", r"pods\.steps\.train", 0),
        (INCOMPLETE, "the quota team of the namespace takes only pods that say limits.cpu for: main", "Limit", 0),
        (RANGE, "the LimitRange of the namespace refuses its pod: maximum cpu usage per Container is 2", "steps", 0),
        (WEBHOOK, "the cluster's policy policy.example.org refuses its pod: label team is missing", "ask its admin", 0),
        (ACCOUNT, "there is no service account gone in its namespace", r"set cluster\.service_account", 10),
        (FORBIDDEN + "no", "the API server refuses its pod: .* is forbidden: no", "Ask the administrator", 10),
    ],
)  # fmt: skip
def test_each_reason_has_its_words_and_its_advice(message: str, summary: str, advice: str, patience: float):
    obstacle = only(message).obstacle
    assert obstacle is not None
    with pytest.raises(CannotStart, match=f"^the step train .*{summary}(.|\n)*{advice}"):
        raise CannotStart("train", obstacle)
    assert obstacle.patience_seconds == patience


def test_a_quota_that_others_use_up_is_waited_for():
    pod = only(FULL.format("2Gi"))
    assert pod.obstacle is None
    assert "exceeded quota: team" in pod.trouble


def test_a_pod_of_kubeflow_pipelines_itself_is_not_for_us_to_change():
    node = {"type": "Pod", "name": "x7k2p.root.train-driver", "phase": "Error", "message": SECURITY}
    (pod,) = refused_in_nodes({"status": {"nodes": {"one": node}}})
    assert (pod.step, pod.is_driver) == ("train", True)
    assert pod.obstacle is not None
    assert pod.obstacle.details == ("It is a pod of Kubeflow Pipelines itself: its administrator must see to it.",)


def test_a_step_that_began_at_a_later_try_is_none_that_was_refused():
    later = {"type": "Pod", "name": NODE.replace("executor(0)", "executor(1)"), "phase": "Running"}
    assert list(refused_in_nodes(workflow(SECURITY, later=later))) == []


def test_a_step_that_failed_by_itself_is_none_that_was_refused():
    assert list(refused_in_nodes(workflow("Error (exit code 3)"))) == []


def test_27_tries_are_one_refusal():
    tries = [NODE.replace("(0)", f"({number})") for number in range(27)]
    again = {name: {"type": "Pod", "name": name, "message": SECURITY} for name in tries}
    assert len(list(refused_in_nodes(workflow(SECURITY, **again)))) == 1


def test_the_nodes_of_a_large_workflow_are_packed():
    document = workflow(SECURITY)
    packed = base64.b64encode(gzip.compress(json.dumps(document["status"]["nodes"]).encode())).decode()
    assert list(refused_in_nodes({"status": {"compressedNodes": packed}})) == [only(SECURITY)]
    assert list(refused_in_nodes({"status": {"compressedNodes": "nonsense"}})) == []


def test_events_say_it_too():
    events = [{"message": f"Error node {NODE}: {SECURITY}"}, {"message": "Workflow failed"}, {}]
    assert [(one.step, one.message) for one in refused_in_events(events)] == [("train", SECURITY)]


def test_submit_ends_within_seconds_and_says_it(kfp: KfpServer, api: KfpApi, pods: ClusterServer):
    clock, said = HandClock(), list[str]()
    run = seen(kfp, api, Look("RUNNING", {"ingest": "SUCCEEDED"}))
    pods.put(f"{WORKFLOWS}/x7k2p", metadata={"labels": {"pipeline/runid": run.id}}, **workflow(SECURITY))
    started = clock.now()
    with pytest.raises(CannotStart, match="the step train cannot start: PodSecurity restricted:latest"):
        wait(api, run.id, RunPrinter(said.append, clock), Limits(clock=clock), StepLogs(api, ClusterConfig()).held_up)
    assert clock.now() - started <= 12


def test_a_run_that_failed_so_is_2_with_the_reason_and_without_a_log_of_others(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer
):
    run = seen(kfp, api, Look("FAILED", FAILED))
    pods.step_pod(run.id, "x7k2p.root.ingest.executor", log="of another step")
    pods.put(f"{WORKFLOWS}/x7k2p", metadata={"labels": {"pipeline/runid": run.id}}, **workflow(SECURITY))
    end = outcome(run, StepLogs(api, ClusterConfig()))
    assert (end.exit_code, end.step, end.log) == (2, "train", None)
    assert "PodSecurity restricted:latest" in str(end.message)


def test_where_workflows_may_not_be_read_the_events_are_asked_and_else_nothing_is_said(
    kfp: KfpServer, api: KfpApi, pods: ClusterServer
):
    run = seen(kfp, api, Look("RUNNING", {"ingest": "SUCCEEDED"}))
    name = pods.step_pod(run.id, "x7k2p.root-driver")
    (path,) = [path for path in pods.objects if path.endswith(f"/pods/{name}")]
    pods.objects[path]["metadata"]["labels"]["workflows.argoproj.io/workflow"] = "x7k2p"
    pods.put("/api/v1/namespaces/kubeflow/events/one", type="Warning", involvedObject={"name": "x7k2p"},
             message=f"Error node {NODE}: {SECURITY}")  # fmt: skip
    pods.forbidden.add("workflows")
    logs = StepLogs(api, ClusterConfig())
    assert [one.step for one in logs.refused(run.id)] == ["train"]
    pods.forbidden.add("events")
    assert logs.refused(run.id) == []


EXECUTOR = """\
I1129 15:21:20.100000      27 launcher_v2.go:181] input: {
  "config": "secret of nobody"
}
[KFP Executor 2026-11-29 15:21:21,000 INFO]: Looking for component `train` in --component_module_path `/tmp/x.py`
[KFP Executor 2026-11-29 15:21:21,000 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {"config": "a"}
    }
}
train: step 1/40
{ a line of the step itself }
"""


def test_the_excerpt_of_a_log_is_the_steps_own_words():
    assert own_lines(EXECUTOR + LOG_OF_3) == [
        "train: step 1/40", "{ a line of the step itself }", "step 1/40",
        "error: the corpus did not pass its suite", "  Fix the documents below.",
    ]  # fmt: skip


def test_a_dump_that_broke_off_hides_nothing_that_follows():
    assert own_lines("I1129 15:21:20.1 27 a.go:1] input: {\n  cut\nerror: killed\n  by hand") == [
        "error: killed", "  by hand",
    ]  # fmt: skip
