"""A Kubernetes API server in this process, small and real: HTTP, JSON, streams of logs, faults on demand.

It keeps TrainJobs, TrainingRuntimes, pods with their logs, and events, and says what one may do. What Trainer, JobSet
and the kubelet would do, a test's *script* does: a function that is started in a thread whenever a TrainJob is created.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Json = dict[str, Any]
TRAINJOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs"
POOLS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainingruntimes"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
DISCOVERY: dict[str, Json] = {
    "/version": {"gitVersion": "v1.34.0"},
    "/apis/trainer.kubeflow.org": {"versions": [{"version": "v1alpha1"}]},
    "/apis/trainer.kubeflow.org/v1alpha1": {"resources": [{"name": "trainjobs"}, {"name": "trainingruntimes"}]},
    "/apis/jobset.x-k8s.io/v1alpha2": {"resources": [{"name": "jobsets"}]},
}
REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeKubernetes:
    """The cluster; use it between `with` and its end."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.trainjobs: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.logs: dict[str, list[tuple[int, str]]] = {}
        self.events: list[Json] = []
        self.pools = {"cpu"}
        self.right: Json = {"allowed": True}
        """The status of every review of one's own rights."""
        self.reviewed: list[Json] = []
        self.discovery: dict[str, Json | str] = dict(DISCOVERY)
        """Answers by path; a text is a web page."""
        self.requests: list[tuple[str, str, float]] = []
        self.refusals: list[tuple[str, str, int, str]] = []
        """(method, regular expression for the path, status, message): answered so, each once."""
        self.is_down = False
        self.cuts_logs_after: list[int] = []
        """After so many lines a stream of a log breaks off, one number a stream."""
        self.grace_seconds = 0.0
        self.script: Callable[[Script], None] = lambda script: None
        self.scripts: list[Script] = []
        self.errors: list[BaseException] = []
        self._server = _Server(self)

    def __enter__(self) -> FakeKubernetes:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for script in self.scripts:
            script.stop()
        with self.changed:
            self.is_down = True
            self.changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here, with the namespace `ml`."""
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "ml"}}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(document))
        return path

    def refuse(self, method: str, path: str, status: int, message: str = "no", times: int = 1) -> None:
        self.refusals += [(method, path, status, message)] * times

    def warning(self, name: str, reason: str, message: str, at: str | None = None) -> None:
        """Leave a controller's warning about the objects of a name."""
        self.events.append({
            "type": "Warning", "reason": reason, "message": message, "lastTimestamp": at or now(),
            "involvedObject": {"name": name},
        })  # fmt: skip

    def made(self, method: str, part: str = "") -> list[str]:
        """The paths of the requests made so far with that method."""
        return [path for verb, path, _ in self.requests if verb == method and part in path]

    def create(self, body: Json) -> Json:
        metadata = body["metadata"]
        job = {**body, "metadata": {**metadata, "uid": str(uuid.uuid4()), "creationTimestamp": now(),
                                    "resourceVersion": "1"}}  # fmt: skip
        job["spec"] = {"managedBy": "trainer.kubeflow.org/trainjob-controller", **job["spec"]}
        self.trainjobs[metadata["name"]] = job
        script = Script(self, job)
        self.scripts.append(script)
        script.start()
        return job

    def delete(self, name: str) -> None:
        """As a foreground deletion: the pods are told to end, and the TrainJob goes after them."""
        job = self.trainjobs[name]
        job["metadata"]["deletionTimestamp"] = now()

        def finish() -> None:
            with self.changed:
                for pod in [pod for pod in self.pods.values() if pod["metadata"]["labels"].get(JOBSET) == name]:
                    self.pods.pop(pod["metadata"]["name"])
                self.trainjobs.pop(name, None)
                self.changed.notify_all()

        timer = threading.Timer(self.grace_seconds, finish)
        timer.daemon = True
        timer.start()


JOBSET = "jobset.sigs.k8s.io/jobset-name"


class Script(threading.Thread):
    """What happens to one TrainJob."""

    def __init__(self, cluster: FakeKubernetes, job: Json) -> None:
        super().__init__(daemon=True)
        self.cluster, self.job, self.name_of_job = cluster, job, job["metadata"]["name"]
        self.attempt, self._stopped, self._clock = 0, False, 0
        self.nodes = job["spec"]["trainer"]["numNodes"]

    def run(self) -> None:
        try:
            self.cluster.script(self)
        except KeyError:  # the TrainJob was deleted under it
            pass
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.cluster.errors.append(error)

    def stop(self) -> None:
        self._stopped = True
        self.join(5)

    def wait_for(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and not self._stopped:
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.005)

    def pod(self, index: int) -> str:
        return f"{self.name_of_job}-node-0-{index}-{self.attempt}"

    def make_pods(self, count: int | None = None, **status: Any) -> None:
        """The pods of this attempt, Pending."""
        for index in range(self.nodes if count is None else count):
            name = self.pod(index)
            self.cluster.pods[name] = {
                "metadata": {"name": name, "uid": str(uuid.uuid4()), "labels": {
                    JOBSET: self.name_of_job, "batch.kubernetes.io/job-completion-index": str(index),
                    "jobset.sigs.k8s.io/restart-attempt": str(self.attempt)}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "node", "image": self.job["spec"]["trainer"]["image"],
                    "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": "8"}}}]},
                "status": {"phase": "Pending", **status},
            }  # fmt: skip

    def run_pods(self) -> None:
        """All pods of this attempt run."""
        if self.pod(0) not in self.cluster.pods:
            self.make_pods()
        for index in range(self.nodes):
            self.cluster.logs.setdefault(self.pod(index), [])
            self._state(index, "Running", {"running": {}})

    def unschedulable(self, message: str) -> None:
        for pod in self.cluster.pods.values():
            pod["status"]["conditions"] = [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            ]

    def waiting(self, reason: str, message: str) -> None:
        self.make_pods(containerStatuses=[
            {"name": "node", "state": {"waiting": {"reason": reason, "message": message}}}])  # fmt: skip

    def say(self, line: str, index: int = 0, at: int | None = None) -> None:
        """A line in a pod's log, with a timestamp (nanoseconds) that is later than the last."""
        with self.cluster.changed:
            self._clock = at if at is not None else max(self._clock + 1, time.time_ns())
            self.cluster.logs[self.pod(index)].append((self._clock, line))
            self.cluster.changed.notify_all()

    def train_step(self, number: int) -> Json:
        event = {"time": round(time.time(), 6), "kind": "train_step", "step": number, "steps": 99, "loss": 1.0}
        self.say(json.dumps(event))
        return event

    def end(self, index: int, code: int, message: str = "", reason: str = "", at: str | None = None) -> None:
        ended = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "finishedAt": at or now()}
        if message:
            ended["message"] = message
        self._state(index, "Failed" if code else "Succeeded", {"terminated": ended})

    def succeed(self) -> None:
        for index in range(self.nodes):
            self.end(index, 0)
        self.condition("Complete", "AllJobsCompleted", "jobset completed successfully")

    def condition(self, kind: str, reason: str, message: str = "", status: str = "True") -> None:
        conditions = self.job.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [one for one in conditions if one["type"] != kind]
        conditions.append({"type": kind, "status": status, "reason": reason, "message": message})

    def restart(self) -> None:
        """As JobSet does it: the pods are gone, then there are new ones."""
        with self.cluster.changed:
            for index in range(self.nodes):
                self.cluster.pods.pop(self.pod(index), None)
            self.attempt += 1
            self.cluster.changed.notify_all()

    def _state(self, index: int, phase: str, state: Json) -> None:
        with self.cluster.changed:
            status = self.cluster.pods[self.pod(index)]["status"]
            status |= {"phase": phase, "containerStatuses": [{"name": "node", "state": state}]}
            status.pop("conditions", None)
            self.cluster.changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cluster: FakeKubernetes) -> None:
        self.cluster = cluster
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, *arguments: object) -> None:
        pass

    def _serve(self, method: str) -> None:
        cluster, parts = self.server.cluster, urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        if cluster.is_down:
            self.close_connection = True
            self.connection.close()
            return
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        cluster.requests.append((method, self.path, time.monotonic()))
        for refusal in cluster.refusals:
            if refusal[0] == method and re.search(refusal[1], self.path):
                cluster.refusals.remove(refusal)
                self._refuse(refusal[2], refusal[3])
                return
        if self.headers.get("Authorization") != "Bearer secret":
            self._refuse(401, "Unauthorized")
        elif (match := re.fullmatch(r"/api/v1/namespaces/ml/pods/([^/]+)/log", parts.path)) is not None:
            self._log(match[1], query)
        else:
            with cluster.changed:
                self._objects(method, parts.path, query, body)

    def _objects(self, method: str, path: str, query: dict[str, str], body: Any) -> None:
        cluster, (home, _, name) = self.server.cluster, path.rpartition("/")
        if path in cluster.discovery:
            self._answer(200, cluster.discovery[path])
        elif path == TRAINJOBS and method == "POST":
            name = body["metadata"]["name"]
            if name in cluster.trainjobs:
                self._refuse(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
            else:
                self._answer(201, cluster.create(body))
        elif path == TRAINJOBS:
            wanted = dict([query["labelSelector"].split("=")])
            self._list(job for job in cluster.trainjobs.values() if wanted.items() <= job["metadata"]["labels"].items())
        elif home == TRAINJOBS and name in cluster.trainjobs:
            job = cluster.trainjobs[name]
            if method == "DELETE":
                assert body["propagationPolicy"] == "Foreground"
                cluster.delete(name)
            if method == "PATCH":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
                job["metadata"] |= body["metadata"]
            self._answer(200, job)
        elif path == POOLS:
            self._list({"metadata": {"name": pool}} for pool in cluster.pools)
        elif home == POOLS and name in cluster.pools:
            self._answer(200, {"metadata": {"name": name}})
        elif path == REVIEWS and method == "POST":
            cluster.reviewed.append(body["spec"]["resourceAttributes"])
            self._answer(201, {**body, "status": cluster.right})
        elif path == "/api/v1/namespaces/ml/pods":
            job = query["labelSelector"].partition("=")[2]
            self._list(pod for pod in cluster.pods.values() if pod["metadata"]["labels"].get(JOBSET) == job)
        elif home == "/api/v1/namespaces/ml/pods" and name in cluster.pods:
            self._answer(200, cluster.pods[name])
        elif path == "/api/v1/namespaces/ml/events":
            about = query["fieldSelector"].rpartition("=")[2]
            self._list(event for event in cluster.events if event["involvedObject"]["name"] == about)
        else:
            self._refuse(404, f'"{name}" not found')

    def _log(self, name: str, query: dict[str, str]) -> None:
        cluster = self.server.cluster
        if name not in cluster.pods:
            self._refuse(404, f'pods "{name}" not found')
            return
        since = 0
        if "sinceTime" in query:
            since = int(datetime.strptime(query["sinceTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
        cut = cluster.cuts_logs_after.pop(0) if query.get("follow") == "true" and cluster.cuts_logs_after else None
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        lines = [line for line in cluster.logs.get(name, []) if line[0] >= since * 10**9]
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        told = len(cluster.logs.get(name, [])) - len(lines)
        for count, data in enumerate(self._lines(name, told, query)):
            if count == cut or cluster.is_down:
                self._chunk(data[: len(data) // 2])  # in the middle of a line
                self.close_connection = True
                return
            self._chunk(data)
        self.wfile.write(b"0\r\n\r\n")

    def _lines(self, name: str, told: int, query: dict[str, str]) -> Any:
        """The log's lines; with `follow` those to come, until the pod has ended."""
        cluster = self.server.cluster
        while True:
            with cluster.changed:
                lines = cluster.logs.get(name, [])[told:]
                pod = cluster.pods.get(name)
                is_over = pod is None or pod["status"]["phase"] in ("Succeeded", "Failed") or cluster.is_down
                if not lines and query.get("follow") == "true" and not is_over:
                    cluster.changed.wait(5)
                    continue
            for nanoseconds, text in lines:
                told += 1
                yield (f"{_stamp(nanoseconds)} " if query.get("timestamps") == "true" else "").encode() + (
                    text.encode() + b"\n"
                )
            if not lines and (is_over or query.get("follow") != "true"):
                return

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _list(self, items: Any) -> None:
        self._answer(200, {"items": list(items)})

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"kind": "Status", "status": "Failure", "message": message, "code": status})

    def _answer(self, status: int, document: Any) -> None:
        is_page = isinstance(document, str)
        data = (document if is_page else json.dumps(document)).encode()
        self.send_response(status, REASONS.get(status))
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _stamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:09d}Z"
