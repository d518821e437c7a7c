"""A Kubeflow Pipelines API server in this process: requests and answers as the real one's, 2.17.

Taken from its sources (`api_converter.go`, `run_server.go`, `run_store.go`, `run_log_server.go`) and from what was seen
of it on a cluster:

* JSON as protojson writes it: names with underscores, what is empty or zero left out (so a state that is unspecified is
  not there), unknown fields in a request refused. Times that are not known yet are 1970.
* Errors are gRPC's: `{"code": 5, "message": …, "details": […]}` with the HTTP status that belongs to the code.
* `task_details` are the nodes of the Argo workflow: `train` is the nodes `train-driver`, `train` and `executor`; a
  group whose condition did not hold is SKIPPED; what was never reached has no state.
* Terminate sets CANCELING without a word in `state_history`; the run ends FAILED. Of a run that has ended, or is being
  cancelled, the row is "not found": 400.
* The log endpoint answers 200, whatever happened.

A run goes through a *script*: each GET of it shows the next look, and the last one stays.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

EPOCH = "1970-01-01T00:00:00Z"
RUN_FIELDS = {
    "experiment_id", "run_id", "display_name", "storage_state", "description", "pipeline_spec",
    "pipeline_version_reference", "runtime_config", "service_account", "created_at", "scheduled_at", "finished_at",
    "state", "error", "run_details", "recurring_run_id", "state_history", "plugins_input",
}  # fmt: skip
HTTP_STATUS = {3: 400, 5: 404, 7: 403, 13: 500, 14: 503, 16: 401}
FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class Look:
    """What a GET of a run shows: its state, and the states of its steps and groups by the names of their nodes."""

    state: str
    steps: dict[str, str | None] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Run:
    """A run as the server keeps it."""

    id: str
    body: dict[str, Any]
    created: datetime
    script: list[Look]
    workflow: str
    history: list[str] = field(default_factory=list)
    terminated: bool = False
    at_terminate: list[Look] = field(default_factory=lambda: [Look("CANCELING"), Look("FAILED")])

    @property
    def look(self) -> Look:
        return self.script[0]

    def advance(self) -> None:
        if len(self.script) > 1:
            self.script.pop(0)
        self.tell()

    def tell(self) -> None:
        """What the persistence agent writes: a state joins the history when it is reported, not when it is set."""
        if not self.history or self.history[-1] != self.look.state:
            self.history.append(self.look.state)

    def as_json(self) -> dict[str, Any]:
        ended = self.look.state in FINAL
        details = self.nodes()
        document = {
            **self.body,
            "run_id": self.id,
            "storage_state": "AVAILABLE",
            "service_account": self.body.get("service_account", "pipeline-runner"),
            "created_at": _time(self.created),
            "scheduled_at": _time(self.created),
            "finished_at": _time(self.created + timedelta(minutes=7)) if ended else EPOCH,
            "state": self.look.state,
            "state_history": [{"update_time": _time(self.created), "state": state} for state in self.history],
            "run_details": {"task_details": details} if details else None,
            "error": {"code": 13, "message": self.look.error} if self.look.error else None,
        }
        return {key: value for key, value in document.items() if value}

    def nodes(self) -> list[dict[str, Any]]:
        if not self.look.steps:
            return []
        nodes = [
            self.node("root", "RUNNING" if self.look.state in ("RUNNING", "CANCELING") else self.look.state, 0),
            self.node("root-driver", "SUCCEEDED", 0),
        ]
        nodes.append({"task_id": str(uuid.uuid4()), "run_id": self.id, "create_time": _time(self.created)})  # a cache's
        for place, (name, state) in enumerate(self.look.steps.items()):
            nodes.append(self.node(name, state, place, [f"{self.workflow}-{place}"]))
            if state is not None and not name.endswith("-driver"):
                nodes += [self.node(f"{name}-driver", "SUCCEEDED", place), self.node("executor", state, place)]
        return nodes[::-1]  # the server promises no order

    def node(self, name: str, state: str | None, place: int, children: Sequence[str] = ()) -> dict[str, Any]:
        start = self.created + timedelta(seconds=10 * place)
        ended = state not in ("RUNNING", "PENDING")
        node = {
            "run_id": self.id,
            "task_id": str(uuid.uuid4()),
            "display_name": name,
            "create_time": _time(start),
            "start_time": _time(start),
            "end_time": _time(start + timedelta(seconds=9)) if ended else EPOCH,
            "state": state,
            "child_tasks": [{"pod_name": child} for child in children],
        }
        return {key: value for key, value in node.items() if value}


class KfpServer:
    """The server; `with` starts it, `stop` and `start` are an outage in which it forgets nothing."""

    def __init__(self, multi_user: bool = False) -> None:
        self.multi_user = multi_user
        self.experiments: list[dict[str, Any]] = []
        self.runs: dict[str, Run] = {}
        self.logs: dict[str, str] = {}
        """By pod."""
        self.next_script: list[Look] = [Look("PENDING"), Look("SUCCEEDED")]
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.delay_seconds = 0.0
        self.answers: tuple[int, str, bytes] | None = None
        """Instead of all answers: status, content type and body."""
        self.port = 0
        self.lock = threading.RLock()

    def __enter__(self) -> KfpServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def add_run(self, name: str, script: Sequence[Look], **body: Any) -> Run:
        """A run that somebody else started."""
        run = Run(str(uuid.uuid4()), {"display_name": name, **body}, _now(), list(script), f"{name[:20]}-x7k2p")
        run.tell()
        with self.lock:
            self.runs[run.id] = run
        return run

    @property
    def only_run(self) -> Run:
        (run,) = self.runs.values()
        return run

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        """The document for a request; raises Refusal."""
        if path == "/apis/v2beta1/healthz":
            return {"commit_sha": "7b70c7b", "tag_name": "2.17.0", "multi_user": self.multi_user,
                    "pipeline_store": "database"}  # fmt: skip
        if path == "/apis/v2beta1/experiments":
            return self._create_experiment(body) if method == "POST" else self._list_experiments(query)
        if path == "/apis/v2beta1/runs":
            return self._create_run(body) if method == "POST" else self._list_runs(query)
        if match := re.fullmatch(r"/apis/v2beta1/runs/([^/:]+)(:terminate)?", path):
            run = self.runs.get(match[1])
            if run is None:
                verb = "terminate run" if match[2] else "get a run"
                raise Refusal(5, f"Failed to {verb}: ResourceNotFoundError: Run {match[1]} not found")
            return self._terminate(run) if match[2] else self._get(run)
        raise Refusal(5, "Not Found")

    def _namespace(self, namespace: str | None) -> str:
        if self.multi_user and not namespace:
            raise Refusal(3, "Invalid input error: A resource cannot have an empty namespace in multi-user mode")
        return namespace or ""

    def _create_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        experiment = {
            "experiment_id": str(uuid.uuid4()),
            "display_name": body["display_name"],
            "namespace": self._namespace(body.get("namespace")),
            "created_at": _time(_now()),
            "storage_state": "AVAILABLE",
        }
        self.experiments.append(experiment)
        return {key: value for key, value in experiment.items() if value}

    def _list_experiments(self, query: dict[str, str]) -> dict[str, Any]:
        namespace = self._namespace(query.get("namespace"))
        found = [one for one in _filtered(self.experiments, query) if one["namespace"] == namespace]
        return {"experiments": found, "total_size": len(found)} if found else {}

    def _create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        for key in body:
            if key not in RUN_FIELDS:
                raise Refusal(3, f'proto: (line 1:2): unknown field "{key}"')
        if body["experiment_id"] not in {one["experiment_id"] for one in self.experiments}:
            raise Refusal(5, f"Failed to create a new run: Experiment {body['experiment_id']} not found")
        specification = body["pipeline_spec"].get("pipeline_spec", body["pipeline_spec"])
        if specification.get("schemaVersion") != "2.1.0":
            raise Refusal(3, "Failed to create a new run: InvalidInputError: unknown template format")
        body = {key: value for key, value in body.items() if value and value != {"parameters": {}}}
        run = self.add_run(body.pop("display_name"), self.next_script, **body)
        return run.as_json()

    def _list_runs(self, query: dict[str, str]) -> dict[str, Any]:
        self._namespace(query.get("namespace"))
        runs = [run.as_json() for run in reversed(self.runs.values())]
        found = _filtered(runs, query)
        first, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
        page = {"runs": found[first : first + size], "total_size": len(found)} if found else {}
        return {**page, "next_page_token": str(first + size)} if first + size < len(found) else page

    def _get(self, run: Run) -> dict[str, Any]:
        document = run.as_json()
        run.advance()
        return document

    def _terminate(self, run: Run) -> dict[str, Any]:
        if run.look.state in (*FINAL, "CANCELING"):
            raise Refusal(3, f"Failed to terminate a run: Failed to terminate a run {run.id}. Row not found")
        run.terminated = True
        run.script = [Look(look.state, look.steps or run.look.steps) for look in run.at_terminate]
        return {}

    def log(self, path: str) -> bytes:
        pod = path.split("/")[-2]
        if pod in self.logs:
            return self.logs[pod].encode()
        said = f'Failed to read logs for run: pods "{pod}" not found'
        return json.dumps({"error_message": said, "error_details": said}).encode()


class Refusal(Exception):
    """A gRPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.document = {
            "code": code,
            "message": message,
            "details": [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": message}],
        }


def _handler(server: KfpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.respond({})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.respond(json.loads(text or b"{}"))

        def respond(self, body: dict[str, Any]) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            time.sleep(server.delay_seconds)
            with server.lock:
                server.requests.append(f"{self.command} {path}")
                server.tokens.append(self.headers.get("Authorization"))
                if server.answers is not None:
                    self.send(*server.answers)
                elif path.startswith("/apis/v1alpha1/") and path.endswith("/log"):
                    self.send(200, "text/plain; charset=utf-8", server.log(path))
                else:
                    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                    try:
                        status, document = 200, server.answer(self.command, path, query, body)
                    except Refusal as refusal:
                        status, document = HTTP_STATUS[refusal.code], refusal.document
                    self.send(status, "application/json", json.dumps(document).encode())

        def send(self, status: int, kind: str, body: bytes) -> None:
            self.close_connection = True
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # whoever asked has given up

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler


def _filtered(documents: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    if "filter" not in query:
        return documents
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert predicate["operation"] in (1, "EQUALS")
    return [one for one in documents if one.get(predicate["key"]) == predicate["stringValue"]]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
