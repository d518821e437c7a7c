"""The cluster in memory (`tests.fakes.cluster`) behind HTTP, for the tests of the connection and the command line."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.cluster import REASONS, FakeCluster, FakeTransport


class ClusterServer(FakeCluster):
    """The cluster; use it between `with` and its end. Its token is `secret`."""

    def __enter__(self) -> ClusterServer:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": self}))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        context = {"cluster": "k", "user": "u", "namespace": self.namespace}
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "c", "context": context}],
        }))  # fmt: skip
        return path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: ClusterServer

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_DELETE(self) -> None:
        self.do_POST()

    def log_message(self, *arguments: object) -> None:
        pass

    def _serve(self, body: Any) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if self.cluster.is_down:
            self.close_connection = True
            return
        if self.headers.get("Authorization") != "Bearer secret":
            self.cluster.requests.append((self.command, parts.path))
            self._send(401, {"message": "Unauthorized"})
        elif parts.path.endswith("/log"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with FakeTransport(self.cluster).stream(parts.path, "read the log", query, 5.0) as stream:
                for data in chain(stream.chunks(), [b""]):
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                    self.wfile.flush()
        else:
            self._send(*self.cluster.answer(self.command, parts.path, query, body))

    def _send(self, status: int, document: Any) -> None:
        is_page = isinstance(document, str)
        data = (document if is_page else json.dumps(document)).encode()
        self.send_response(status, REASONS.get(status))
        self.send_header("Content-Type", "text/html" if is_page else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
