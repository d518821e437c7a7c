"""A Kubernetes API server in this process, as far as looking at pods and deleting objects goes.

Objects are kept by their path; a list is filtered by labels. Add them with `put`, or with `pod` for a pod of a step as
Argo makes it.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


class PodsServer:
    """The server; `kubeconfig` writes the file that leads to it."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.logs: dict[str, str] = {}
        """By the name of the pod; a log under `follow` goes on until its pod has ended."""
        self.forbidden: set[str] = set()
        """Kinds that may not be read."""
        self.deleted: list[str] = []

    def __enter__(self) -> PodsServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, path: Path, namespace: str = "kubeflow") -> Path:
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "clusters": [
                        {"name": "it", "cluster": {"server": f"http://127.0.0.1:{self._http.server_address[1]}"}}
                    ],
                    "users": [{"name": "me", "user": {"token": "mine"}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me", "namespace": namespace}}],
                }
            )
        )
        return path

    def put(self, path: str, **document: Any) -> Json:
        namespace, _, name = path.split("/")[-3:]
        document.setdefault("metadata", {}).update(name=name, namespace=namespace, uid=path)
        self.objects[path] = document
        return document

    def pod(self, run_id: str, node: str, phase: str = "Succeeded", log: str = "", **status: Any) -> str:
        """A pod of a run; `node` is what Argo calls it, such as `x7k2p.root.train.executor`."""
        name = f"pretrain-{len(self.objects)}"
        created = f"2026-11-24T10:00:{len(self.objects):02d}Z"
        metadata = {
            "labels": {"pipeline/runid": run_id},
            "annotations": {"workflows.argoproj.io/node-name": node},
            "creationTimestamp": created,
        }
        self.put(f"/api/v1/namespaces/kubeflow/pods/{name}", metadata=metadata, status={"phase": phase, **status})
        self.logs[name] = log
        return name

    def phase(self, pod: str, phase: str) -> None:
        self.objects[f"/api/v1/namespaces/kubeflow/pods/{pod}"]["status"]["phase"] = phase

    def list(self, path: str, selector: str) -> Json:
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        items = [
            one
            for key, one in self.objects.items()
            if key.rpartition("/")[0] == path and wanted.items() <= one["metadata"].get("labels", {}).items()
        ]
        return {"items": items}


def _handler(server: PodsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            path = parts.path
            if any(f"/{kind}" in path for kind in server.forbidden):
                self.refuse(403, f'{path} is forbidden: User "me" cannot get it')
            elif path.endswith("/log"):
                self.log_of(path.split("/")[-2], follow=query.get("follow") == "true")
            elif path == "/version":
                self.send(200, {"major": "1", "minor": "34"})
            elif path in server.objects:
                self.send(200, server.objects[path])
            elif path.rstrip("/").rpartition("/")[2] in ("pods", "workflows", "trainjobs", "trainingruntimes"):
                self.send(200, server.list(path, query.get("labelSelector", "")))
            else:
                self.refuse(404, f"{path} not found")

        def do_DELETE(self) -> None:
            path = urlsplit(self.path).path
            if path not in server.objects:
                self.refuse(404, f"{path} not found")
                return
            server.deleted.append(path)
            self.send(200, server.objects.pop(path))

        def log_of(self, pod: str, *, follow: bool) -> None:
            path = f"/api/v1/namespaces/kubeflow/pods/{pod}"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            sent = 0
            while True:
                ended = not follow or server.objects[path]["status"]["phase"] != "Running"
                text = server.logs[pod].encode()
                self.wfile.write(text[sent:])
                self.wfile.flush()
                sent = len(text)
                if ended:
                    return
                time.sleep(0.02)

        def refuse(self, status: int, message: str) -> None:
            self.send(status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message})

        def send(self, status: int, document: Json) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler
