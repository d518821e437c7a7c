"""The serving chart on a cluster: a model from S3 behind a real Triton, replaced, broken, rolled back and removed,
while eight clients go on asking.

The tests take one release through its life, in their order: run the whole module.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from http.client import HTTPConnection, HTTPException

import pytest

from llm.serving.triton.client import stream
from llm.storage.uri import bucket_and_prefix
from tests.cases.cluster import Json, apply, everything, fresh_namespace, helm, kubectl, objects, wait_for
from tests.cases.helm import documents
from tests.cases.reach import probe, reached
from tests.cluster.serving.release import CHART, MODEL, RELEASE, TOKENS, Models, Serving, load

pytestmark = pytest.mark.alone  # its clients keep a core busy
LONGEST = "a-release-name-of-fifty-three-characters-and-no-more0"
NOWHERE = f"sha256:{'0' * 64}"
"""Digest of an image that no node has."""
ASK_BY_GRPC = """
import grpc, json, sys
channel, answers = grpc.insecure_channel(sys.argv[1]), {}
for method in ("ServerLive", "RepositoryIndex", "RepositoryModelUnload"):
    try:
        channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(b"", timeout=10, wait_for_ready=True)
        answers[method] = "OK"
    except grpc.RpcError as error:
        answers[method] = error.code().name
print(json.dumps(answers))
"""
DEAD_ENDPOINT = "http://127.0.0.1:9"


def test_without_any_values_and_with_the_longest_name_the_tiny_model_is_served_and_nothing_is_left(
    images: dict[str, str],
) -> None:
    assert len(LONGEST) == 53
    with fresh_namespace("gristmill-serving") as namespace:
        before = everything(namespace)
        notes = helm("install", LONGEST, str(CHART), "--namespace", namespace, "--wait", "--timeout", "4m").stdout
        tested = helm("test", LONGEST, "--namespace", namespace)
        assert "Succeeded" in tested.stdout
        assert "streams, and answers twice the same" in tested.stdout + tested.stderr
        assert '"text_output":' in follow(notes)
        helm("uninstall", LONGEST, "--namespace", namespace, "--wait")
        wait_for(lambda: not objects(namespace, "pods"), "pods to be gone")
        assert everything(namespace) == before


def follow(notes: str) -> str:
    """Do what the chart's notes say, word for word, and give what curl prints."""
    wait, forward, ask = (
        next(line.strip() for line in notes.splitlines() if re.search(rf"^ +{what}", line))
        for what in ("kubectl .* rollout status", "kubectl .* port-forward", "curl ")
    )
    script = f"{wait} >&2 || exit 1\n{forward}\nsleep 3\n{ask}\nkill %1\n"
    done = subprocess.run(["bash", "-m", "-c", script], capture_output=True, text=True, timeout=120)
    return done.stdout


@pytest.mark.parametrize("feature", ["default", "s3", "full"])
def test_the_api_server_takes_every_manifest_and_finds_no_fault_with_its_pods(kubeconfig: str, feature: str) -> None:
    with fresh_namespace("gristmill-serving") as namespace:
        kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
        values = str(CHART / "ci" / f"{feature}-values.yaml")
        text = helm("template", RELEASE, str(CHART), "--namespace", namespace, "--values", values).stdout
        done = subprocess.run(
            ["kubectl", "--namespace", namespace, "apply", "--dry-run=server", "-f", "-"],
            input=text, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("(server dry run)") == len(documents(text))


def test_what_is_missing_is_named_before_anything_is_made(serving: Serving, models: Models) -> None:
    said = serving.refusal(models.plain.uri, "s3.existingSecret=nowhere")
    assert f"error: s3.existingSecret=nowhere: namespace {serving.namespace} has no such Secret" in said
    said = serving.refusal(models.plain.uri, "s3.existingSecret=nowhere", "verifySecrets=false")
    assert "error: s3.existingSecret=nowhere: there is no such Secret in this namespace" in said
    said = serving.refusal(f"{models.plain.uri}0")
    assert f"error: there is no product at {models.plain.uri}0" in said
    said = serving.refusal(models.cases[0].checkpoint.uri.replace("file://", "s3://nowhere"))
    assert "error: S3 bucket nowhere at" in said
    assert nothing_is_made(serving)


def test_a_wrong_key_and_a_dead_store_are_named_before_anything_is_made(serving: Serving, models: Models) -> None:
    bucket, _ = bucket_and_prefix(models.plain.uri)
    keys = {"AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": "wrong"}
    apply(serving.namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"}, "stringData": keys})
    try:
        said = serving.refusal(models.plain.uri, "s3.existingSecret=wrong")
        assert f"error: S3 bucket {bucket} at {serving.endpoint} refused: 403 " in said
        assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said
    finally:
        kubectl("-n", serving.namespace, "delete", "secret", "wrong")
    said = serving.refusal(models.plain.uri, f"s3.endpoint={DEAD_ENDPOINT}")
    assert f"error: S3 bucket {bucket} at {DEAD_ENDPOINT} does not answer: " in said
    assert nothing_is_made(serving)


def nothing_is_made(serving: Serving) -> bool:
    """Whether the release has no object."""
    return not objects(serving.namespace, "deployments,services,serviceaccounts", "-l", "app.kubernetes.io/name")


def test_an_upgrade_to_version_2_under_load_fails_and_falsifies_no_answer(serving: Serving, models: Models) -> None:
    serving.upgrade(models.slow[0].uri)
    with load(serving.url, models, 1, 2) as clients:
        serving.upgrade(models.slow[1].uri)
        wait_for(lambda: len(objects(serving.namespace, "pods")) == 1, "version 1 to be gone")
        switched = time.monotonic()
        wait_for(lambda: len(clients.answers) > 0 and clients.answers[-1][0] > switched + 2, "answers of version 2")
    assert {version for _, version in clients.answers} == {1, 2}
    assert clients.versions_since(switched) == {2}


def test_a_broken_version_3_is_refused_with_the_reason_and_version_2_goes_on(serving: Serving, models: Models) -> None:
    running = serving.hashes()
    reasons = {
        models.damaged.uri: models.damage,
        models.unloadable.uri: rf"error: Triton could not load {MODEL}: .*version 3 .*model\.onnx failed",
    }
    with load(serving.url, models, 2):
        for uri, reason in reasons.items():
            assert re.search(reason, serving.refusal(uri))
            assert serving.hashes() == running
            assert not objects(serving.namespace, "jobs")
            assert "Rollback was a success" in serving.helm("rollback", "--wait", "--timeout", "4m")
            assert serving.hashes() == running


def test_an_image_that_no_node_has_fails_the_upgrade_and_changes_nothing(serving: Serving, models: Models) -> None:
    running = serving.pods()
    image = (f"image.digest={NOWHERE}", "image.pullPolicy=Never")
    with load(serving.url, models, 2):
        said = serving.refusal(models.slow[1].uri, *image, "trial.timeoutSeconds=10")
    assert f"Job/{serving.namespace}/{RELEASE}-trial not ready. status: Failed" in said
    assert NOWHERE in kubectl("-n", serving.namespace, "events", "--types=Warning"), "what the chart's README names"
    assert serving.pods() == running
    serving.upgrade(models.slow[1].uri)
    assert serving.pods() == running
    wait_for(lambda: names(serving) == set(running), "the trials' pods to be gone")
    assert not [name for name in everything(serving.namespace) if "trial" in name]


def test_a_broken_version_3_without_a_trial_never_gets_a_request_and_is_rolled_back(
    serving: Serving, models: Models
) -> None:
    running = serving.pods()
    with load(serving.url, models, 2):
        pod = broken_without_a_trial(serving, models.damaged.uri, timeout="10s")
        wait_for(lambda: re.search(models.damage, last_words(serving, pod)), "the fetch to name the damaged file")
        serving.helm("rollback", "--wait", "--timeout", "4m")
        assert serving.pods() == running
        broken_without_a_trial(serving, models.unloadable.uri, timeout="30s")
        serving.helm("rollback", "--wait", "--timeout", "4m")
        assert serving.pods() == running
    serving.helm("test")


def broken_without_a_trial(serving: Serving, uri: str, timeout: str) -> str:
    """Upgrade to a model that never serves; gives the pod that stands beside those that go on serving."""
    running = serving.pods()
    said = serving.refusal(uri, "trial.enabled=false", timeout=timeout)
    assert f"Deployment/{serving.namespace}/{RELEASE} not ready" in said
    pods = serving.pods()
    assert set(running) < set(pods)
    (pod,) = set(pods) - set(running)
    return pod


def last_words(serving: Serving, pod: str) -> str:
    """Why the fetch of a pod failed, as `kubectl describe pod` shows it."""
    (found,) = [each for each in objects(serving.namespace, "pods") if each["metadata"]["name"] == pod]
    states = [
        each[state] for each in found["status"].get("initContainerStatuses", []) for state in ("state", "lastState")
    ]
    return "\n".join(state["terminated"].get("message", "") for state in states if "terminated" in state)


def test_nodes_are_drained_one_pod_at_a_time_and_no_answer_is_lost(serving: Serving, models: Models) -> None:
    serving.upgrade(models.slow[1].uri, "replicas=2")
    first, second = serving.pods()
    with load(serving.url, models, 2):
        assert evict(serving.namespace, first) == "Success"
        assert "disruption budget" in evict(serving.namespace, second)
        wait_for(lambda: available(serving) == 2, "another pod")
        assert evict(serving.namespace, second) == "Success"
        wait_for(lambda: first not in names(serving) and second not in names(serving), "both pods to go")
        wait_for(lambda: available(serving) == 2, "another pod")


def evict(namespace: str, pod: str) -> str:
    """What the API server says to an eviction, which is what draining a node asks for."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    done = subprocess.run(
        ["kubectl", "create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", "-f", "-"],
        input=json.dumps(body), capture_output=True, text=True,
    )  # fmt: skip
    return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else done.stderr


def available(serving: Serving) -> int:
    (deployment,) = objects(serving.namespace, "deployments")
    return int(deployment["status"].get("availableReplicas", 0))


def names(serving: Serving) -> set[str]:
    """All pods, those that are going too."""
    return {pod["metadata"]["name"] for pod in objects(serving.namespace, "pods")}


def test_a_model_from_s3_streams_the_checkpoints_greedy_decoding(serving: Serving, models: Models) -> None:
    serving.upgrade(models.plain.uri, "replicas=1")
    wait_for(lambda: len(objects(serving.namespace, "pods")) == 1, "one pod")
    for prompt, right in models.answers(1).items():
        pieces = list(stream(serving.url, MODEL, prompt, max_tokens=TOKENS))
        assert len(pieces) > 1
        assert "".join(piece.text for piece in pieces) == right


def test_nobody_may_load_another_model(serving: Serving) -> None:
    for method, path in (
        ("POST", f"/v2/repository/models/{MODEL}/unload"), ("POST", "/v2/repository/models/evil/load"),
        ("POST", "/v2/repository/index"), ("GET", "/v2/systemsharedmemory/status"), ("POST", "/v2/logging"),
    ):  # fmt: skip
        connection = HTTPConnection(serving.url.removeprefix("http://"), timeout=10)
        connection.request(method, path, "{}")
        assert connection.getresponse().status == 403
        connection.close()


def test_pods_of_the_namespace_reach_the_servers_ports_and_pods_of_another_reach_none(serving: Serving) -> None:
    """Triton's requests that load models have no port of their own: they are refused at those of all others."""
    (pod,) = serving.pods()
    host = kubectl("-n", serving.namespace, "get", "pod", pod, "-o", "jsonpath={.status.podIP}")
    ports = {"http": (host, 8000), "grpc": (host, 8001), "metrics": (host, 8002)}
    with fresh_namespace("gristmill-team") as team:
        probe(serving.namespace, "client", serving.image, ports, ports.keys())
        probe(team, "stranger", serving.image, ports, ())
        assert (reached(serving.namespace, "client"), reached(team, "stranger")) == (set(ports), set())
    asked = kubectl("-n", serving.namespace, "exec", "client", "--", "python3", "-c", ASK_BY_GRPC, f"{host}:8001")
    assert json.loads(asked) == {
        "ServerLive": "OK",
        "RepositoryIndex": "UNAVAILABLE",
        "RepositoryModelUnload": "UNAVAILABLE",
    }
    kubectl("-n", serving.namespace, "delete", "pod", "client", "--grace-period=0", "--force")


def test_a_pod_whose_models_process_has_died_is_restarted(serving: Serving) -> None:
    (pod,) = serving.pods()
    kill = "import os; from llm.serving.pod.health import model_processes; os.kill(*model_processes(), 9)"
    kubectl("-n", serving.namespace, "exec", pod, "-c", "triton", "--", "python", "-c", kill)
    wait_for(lambda: restarts(serving, pod) == 1 and answers(serving.url), "Triton to be restarted")


def restarts(serving: Serving, pod: str) -> int:
    (found,) = [each for each in objects(serving.namespace, "pods") if each["metadata"]["name"] == pod]
    return sum(each["restartCount"] for each in container_states(found))


def container_states(pod: Json) -> list[Json]:
    states: list[Json] = pod["status"].get("containerStatuses", [])
    return states


def answers(url: str) -> bool:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", f"/v2/models/{MODEL}/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def test_an_uninstalled_release_leaves_nothing(serving: Serving, models: Models) -> None:
    serving.helm("uninstall", "--wait")
    wait_for(lambda: not objects(serving.namespace, "pods"), "pods to be gone")
    left = everything(serving.namespace)
    assert left == {"configmap/kube-root-ca.crt", f"secret/{serving.secret}", "serviceaccount/default"}
