"""A Kubernetes cluster in memory: objects by their path, logs, warnings, refusals on demand, and a clock moved by hand.

Whatever happens in it happens at a time of its clock, when somebody sleeps: no test waits. `tests.fakes.cluster_server`
serves the same cluster over HTTP.
"""

from __future__ import annotations

import heapq
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from llm.cluster.api import Api
from llm.cluster.patience import Clock
from llm.cluster.refusal import Unreachable, refusal

Json = dict[str, Any]
TRAINER = "/apis/trainer.kubeflow.org"
TRAINJOBS = TRAINER + "/v1alpha1/namespaces/{}/trainjobs"
POOLS = TRAINER + "/v1alpha1/namespaces/{}/trainingruntimes"
PODS = "/api/v1/namespaces/{}/pods"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
JOBSET = "jobset.sigs.k8s.io/jobset-name"
DISCOVERY: dict[str, Json] = {
    "/version": {"gitVersion": "v1.34.0"},
    TRAINER: {"versions": [{"version": "v1alpha1"}]},
    f"{TRAINER}/v1alpha1": {"resources": [{"name": "trainjobs"}, {"name": "trainingruntimes"}]},
    "/apis/jobset.x-k8s.io/v1alpha2": {"resources": [{"name": "jobsets"}]},
}
LISTS = ("pods", "workflows", "trainjobs", "trainingruntimes", "events", "nodes")
KUEUE = "/apis/kueue.x-k8s.io"
QUEUE_LISTS = ("localqueues", "workloads", "clusterqueues", "cohorts", "workloadpriorityclasses", "pendingworkloads")
"""Listed only where Kueue is there."""
VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}
REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
           503: "Service Unavailable"}  # fmt: skip


class HandClock(Clock):
    """A clock that only `sleep` moves; what was planned for the time in between happens then."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._plan: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def now(self) -> float:
        return self.seconds

    def date(self) -> datetime:
        return datetime(2026, 11, 24, 23, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._plan, (self.seconds + seconds, next(self._order), action))

    def sleep(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self._plan and self._plan[0][0] <= end:
            at, _, action = heapq.heappop(self._plan)
            self.seconds = max(self.seconds, at)
            action()
        self.seconds = max(self.seconds, end)
        assert self.seconds < 86400, "it waits for something that never comes"


class FakeCluster:
    """The cluster."""

    def __init__(self, namespace: str = "ml") -> None:
        self.namespace, self.clock = namespace, HandClock()
        self.objects: dict[str, Json | str] = {**DISCOVERY}
        """By path; a text is answered as a web page."""
        self.logs: dict[str, list[tuple[int, str]]] = {}
        """By pod: timestamp in nanoseconds, and text."""
        self.right: Json = {"allowed": True}
        self.reviewed: list[Json] = []
        self.requests: list[tuple[str, str]] = []
        self.verbs: set[tuple[str, str, str]] = set()
        """(API group, resource, verb) of each request for objects of a namespace."""
        self.refusals: list[tuple[str, str, int, str]] = []
        """(method, regular expression for the path, status, message): answered so, each once."""
        self.forbidden: set[str] = set()
        """Kinds that may not be read."""
        self.is_down = False
        self.grace_seconds = 0.0
        self.cuts: list[int] = []
        """After so many lines a followed log breaks off, one number a stream."""
        self.script: Callable[[Training], None] = lambda training: None
        """What becomes of each TrainJob that is created."""
        self.changed = threading.Condition(threading.RLock())

    def api(self, namespace: str | None = None) -> Api:
        return Api(FakeTransport(self), namespace or self.namespace, self.clock)

    def date(self) -> str:
        return self.clock.date().strftime("%Y-%m-%dT%H:%M:%SZ")

    def put(self, path: str, **document: Any) -> Json:
        namespace, _, name = path.split("/")[-3:]
        document.setdefault("metadata", {}).update({"name": name, "namespace": namespace})
        document["metadata"].setdefault("uid", path)
        document["metadata"].setdefault("creationTimestamp", self.date())
        self.objects[path] = document
        return document

    def trainjobs(self) -> dict[str, Json]:
        return self._below(TRAINJOBS.format(self.namespace))

    def pods(self) -> dict[str, Json]:
        return self._below(PODS.format(self.namespace))

    def create(self, body: Json) -> Training:
        """A TrainJob that others made."""
        name = body["metadata"]["name"]
        made = json.loads(json.dumps(body))
        made["metadata"]["uid"] = str(uuid.uuid4())
        return Training(self, self.put(f"{TRAINJOBS.format(self.namespace)}/{name}", **made))

    def delete(self, path: str) -> None:
        """As a foreground deletion: the pods get their grace, and the object goes after them."""
        job = self.objects[path]
        assert isinstance(job, dict)
        if "deletionTimestamp" in job["metadata"]:
            return
        job["metadata"]["deletionTimestamp"] = self.date()

        def finish() -> None:
            with self.changed:
                for name, pod in self.pods().items():
                    if pod["metadata"].get("labels", {}).get(JOBSET) == job["metadata"]["name"]:
                        del self.objects[f"{PODS.format(self.namespace)}/{name}"]
                self.objects.pop(path, None)
                self.changed.notify_all()

        self.clock.after(self.grace_seconds, finish) if self.grace_seconds else finish()

    def warning(self, name: str, reason: str, message: str, at: str | None = None) -> None:
        """A controller's warning about the objects of a name."""
        self.put(f"/api/v1/namespaces/{self.namespace}/events/{len(self.objects)}", type="Warning", reason=reason,
                 message=message, lastTimestamp=at or self.date(), involvedObject={"name": name})  # fmt: skip

    def install_kueue(self) -> None:
        self.objects[KUEUE] = {"versions": [{"version": "v1beta2"}, {"version": "v1beta1"}]}

    def kueue(self, kind: str, name: str, namespace: str | None = None, **document: Any) -> Json:
        """An object of Kueue; cluster-wide without a namespace."""
        home = f"{KUEUE}/v1beta2" + (f"/namespaces/{namespace}" if namespace else "")
        return self.put(f"{home}/{kind}/{name}", **document)

    def refuse(self, method: str, path: str, status: int, message: str = "no", times: int = 1) -> None:
        self.refusals += [(method, path, status, message)] * times

    def made(self, method: str, part: str = "") -> list[str]:
        return [path for verb, path in self.requests if verb == method and part in path]

    def step_pod(self, run_id: str, node: str, phase: str = "Succeeded", log: str = "", **status: Any) -> str:
        """A pod of a pipeline's step; `node` is Argo's name of it, such as `x7k2p.root.train.executor`."""
        name = f"pretrain-{len(self.objects)}"
        state = {"Running": {"running": {}}, "Pending": {}}.get(phase, {"terminated": {"exitCode": 0}})
        status = {"containerStatuses": [{"name": "main", "state": state}], **status, "phase": phase}
        metadata = {"labels": {"pipeline/runid": run_id}, "annotations": {"workflows.argoproj.io/node-name": node},
                    "creationTimestamp": f"2026-11-24T10:00:{len(self.objects):02d}Z"}  # fmt: skip
        self.put(f"{PODS.format(self.namespace)}/{name}", metadata=metadata, status=status)
        self.logs[name] = list(enumerate(log.splitlines()))
        return name

    def answer(self, method: str, path: str, query: dict[str, Any], body: Any) -> tuple[int, Json | str]:
        """The status and body of an answer."""
        self._record(method, path)
        for one in self.refusals:
            if one[0] == method and re.search(one[1], path):
                self.refusals.remove(one)
                return one[2], {"message": one[3]}
        if any(f"/{kind}" in path for kind in self.forbidden):
            return 403, {"message": f'{path} is forbidden: User "me" cannot get it'}
        if path == REVIEWS:
            self.reviewed.append(body["spec"]["resourceAttributes"])
            return 201, {**body, "status": self.right}
        with self.changed:
            return self._objects(method, path, query, body)

    def _objects(self, method: str, path: str, query: dict[str, Any], body: Any) -> tuple[int, Json | str]:
        lists = LISTS + (QUEUE_LISTS if KUEUE in self.objects else ())
        if method == "GET" and path.rpartition("/")[2] in lists and path not in self.objects:
            return 200, {"items": [one for one in self._below(path).values() if _matches(one, query)]}
        if method == "POST" and f"{path}/{body['metadata']['name']}" not in self.objects:
            training = self.create(body)
            self.script(training)
            return 201, training.job
        if method == "POST":
            return 409, {"message": "already exists"}
        if path not in self.objects:
            return 404, {"message": f"{path} not found"}
        found = self.objects[path]
        if method == "DELETE":
            assert body["propagationPolicy"] == "Foreground"
            self.delete(path)
        return 200, found

    def _below(self, home: str) -> dict[str, Json]:
        found = [(path.rpartition("/"), one) for path, one in self.objects.items() if isinstance(one, dict)]
        return {name: one for (folder, _, name), one in found if folder == home}

    def _record(self, method: str, path: str) -> None:
        self.requests.append((method, path))
        match = re.fullmatch(
            r"/(?:api|apis/([^/]+))/[^/]+/namespaces/[^/]+/([^/]+)(/[^/]+)?(/log|/pendingworkloads)?", path
        )
        if match is not None:
            verb = VERBS.get(method) or ("get" if match[3] else "list")
            self.verbs.add((match[1] or "", match[2] + (match[4] or ""), verb))


class FakeTransport:
    """Requests to the cluster in memory."""

    source, timeout_seconds, server = "the test's kubeconfig", 2.0, "https://k"

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def new_connection(self, timeout_seconds: float) -> FakeTransport:
        return self

    def close(self) -> None:
        pass

    def request(self, method: str, path: str, doing: str, query: Any, body: Any) -> Json:
        self._check()
        status, answer = self._cluster.answer(method, path, query, body)
        if status >= 400:
            raise refusal(doing, self.server, status, REASONS[status], json.dumps(answer))
        assert isinstance(answer, dict)
        return json.loads(json.dumps(answer))

    @contextmanager
    def stream(self, path: str, doing: str, query: Any, silence_seconds: float) -> Iterator[FakeStream]:
        self._check()
        name = path.split("/")[-2]
        self._cluster._record("GET", path)
        if any(f"/{kind}" in path for kind in self._cluster.forbidden):
            raise refusal(doing, self.server, 403, "Forbidden", None)
        if name not in self._cluster.pods():
            raise refusal(doing, self.server, 404, "Not Found", None)
        yield FakeStream(self._cluster, name, query)

    def _check(self) -> None:
        if self._cluster.is_down:
            raise Unreachable(f"the Kubernetes API server at {self.server} does not answer: Connection refused")


class FakeStream:
    """A log as it comes; one that is followed ends with its pod."""

    def __init__(self, cluster: FakeCluster, name: str, query: Any) -> None:
        self._cluster, self._name, self._query, self._hung_up = cluster, name, query, False

    def hang_up(self) -> None:
        with self._cluster.changed:
            self._hung_up = True
            self._cluster.changed.notify_all()

    def chunks(self) -> Iterator[bytes]:
        cluster, follow = self._cluster, str(self._query.get("follow")).lower() == "true"
        cut = cluster.cuts.pop(0) if follow and cluster.cuts else None
        since = self._query.get("sinceTime")
        nanoseconds = 0 if since is None else int(datetime.fromisoformat(since).timestamp()) * 10**9
        lines = cluster.logs[self._name]
        sent = sum(at < nanoseconds for at, _ in lines)
        sent = max(sent, len(lines) - int(self._query.get("tailLines", len(lines))))
        stamped = str(self._query.get("timestamps")).lower() == "true"
        while True:
            with cluster.changed:
                pod = cluster.pods().get(self._name)
                over = not follow or self._hung_up or pod is None or pod["status"]["phase"] in ("Succeeded", "Failed")
                new = lines[sent:]
                if not new and not over:
                    cluster.changed.wait(5)
                    continue
            for at, text in new:
                data = (f"{_stamp(at)} " if stamped else "") + f"{text}\n"
                if cut == 0:
                    yield data[:7].encode()  # in the middle of a line
                    raise Unreachable("it broke off")
                cut = None if cut is None else cut - 1
                sent += 1
                yield data.encode()
            if over and not new:
                return


class Training:
    """What happens to one TrainJob, as Trainer, JobSet and the kubelet would do it."""

    def __init__(self, cluster: FakeCluster, job: Json) -> None:
        self.cluster, self.job, self.name, self.attempt = cluster, job, job["metadata"]["name"], 0
        self.nodes = job["spec"]["trainer"]["numNodes"]
        self.requests: Json = {}
        self.labels: Json = {}

    def after(self, seconds: float, action: Callable[..., object], *arguments: Any, **named: Any) -> None:
        self.cluster.clock.after(seconds, lambda: action(*arguments, **named))

    def pod(self, index: int) -> str:
        return f"{self.name}-node-0-{index}-{self.attempt}"

    def run_pods(self) -> None:
        for index in range(self.nodes):
            self.cluster.logs.setdefault(self.pod(index), [])
            self._state(index, "Running", {"running": {"startedAt": self.cluster.date()}})

    def say(self, line: str, index: int = 0, at: int | None = None) -> None:
        with self.cluster.changed:
            log = self.cluster.logs[self.pod(index)]
            log.append((at if at is not None else log[-1][0] + 1 if log else 10**18, line))
            self.cluster.changed.notify_all()

    def train_step(self, number: int) -> Json:
        event = {"time": 1e9 + number, "kind": "train_step", "step": number, "steps": 99, "loss": 1.0}
        self.say(json.dumps(event))
        return event

    def end(self, index: int, code: int, message: str = "", reason: str = "", at: str = "") -> None:
        ended = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message,
                 "finishedAt": at or self.cluster.date(), **self._started(index)}  # fmt: skip
        self._state(index, "Failed" if code else "Succeeded", {"terminated": ended})

    def succeed(self) -> None:
        for index in range(self.nodes):
            self.end(index, 0)
        self.condition("Complete")

    def wait(self) -> None:
        """As a queue, or a person, holds it back."""
        self.job["spec"]["suspend"] = True

    def go(self) -> None:
        self.job["spec"]["suspend"] = False

    def workload(self, queue: str, active: bool = True, **conditions: tuple[bool, str, str]) -> Json:
        """What Kueue says of it now: conditions by type, each whether it is true, the reason and the message."""
        metadata = {"labels": {"kueue.x-k8s.io/job-uid": self.job["metadata"]["uid"]},
                    "creationTimestamp": self.job["metadata"]["creationTimestamp"],
                    "ownerReferences": [{"kind": "TrainJob", "name": self.name}]}  # fmt: skip
        listed = [
            {"type": kind, "status": str(true), "reason": reason, "message": message,
             "lastTransitionTime": self.cluster.date()}
            for kind, (true, reason, message) in conditions.items()
        ]  # fmt: skip
        status = {"conditions": listed, "admission": {"clusterQueue": "all"}}
        spec = {"queueName": queue, "active": active}
        return self.cluster.kueue(
            "workloads", f"trainjob-{self.name}", "ml", metadata=metadata, spec=spec, status=status
        )

    def condition(self, kind: str, reason: str = "", message: str = "") -> None:
        conditions = self.job.setdefault("status", {}).setdefault("conditions", [])
        conditions.append({"type": kind, "status": "True", "reason": reason, "message": message})

    def restart_in_place(self, index: int, code: int, down_seconds: float = 0.0) -> None:
        """The container ended, and after so many seconds its kubelet starts it again in the same pod."""
        at = self.cluster.clock.date() - timedelta(seconds=down_seconds)
        ended = {"exitCode": code, "finishedAt": at.strftime("%Y-%m-%dT%H:%M:%SZ"), **self._started(index)}
        running = {"running": {"startedAt": self.cluster.date()}}
        self._state(index, "Running", running, lastState={"terminated": ended})

    def find_no_node(self, words: str) -> None:
        """The scheduler says why it has no node for the pods."""
        said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
        for index in range(self.nodes):
            self._state(index, "Pending", {})
            self.cluster.pods()[self.pod(index)]["status"] = {"phase": "Pending", "conditions": [said]}

    def delete_pods(self) -> None:
        """As JobSet does it at a restart: they are gone at once, whatever they did."""
        with self.cluster.changed:
            for index in range(self.nodes):
                self.cluster.objects.pop(f"{PODS.format(self.cluster.namespace)}/{self.pod(index)}", None)
            self.cluster.changed.notify_all()

    def _started(self, index: int) -> Json:
        found = self.cluster.pods().get(self.pod(index), {}).get("status", {}).get("containerStatuses", [{}])[0]
        return {"startedAt": one["startedAt"]} if (one := found.get("state", {}).get("running")) else {}

    def _state(self, index: int, phase: str, state: Json, **more: Json) -> None:
        labels = {JOBSET: self.name, "batch.kubernetes.io/job-completion-index": str(index),
                  "jobset.sigs.k8s.io/restart-attempt": str(self.attempt), **self.labels}  # fmt: skip
        status = {"phase": phase, "containerStatuses": [{"name": "node", "state": state, **more}]}
        container = {"name": "node", "image": "x", "resources": {"requests": self.requests}}
        spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
        with self.cluster.changed:
            path = f"{PODS.format(self.cluster.namespace)}/{self.pod(index)}"
            self.cluster.put(path, metadata={"labels": labels}, spec=spec, status=status)
            self.cluster.changed.notify_all()


def _matches(one: Json, query: dict[str, Any]) -> bool:
    labels = one["metadata"].get("labels", {})
    wanted = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
    name = query.get("fieldSelector", "").partition("involvedObject.name=")[2]
    return wanted.items() <= labels.items() and (not name or one["involvedObject"]["name"] == name)


def _stamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:09d}Z"
