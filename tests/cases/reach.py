"""Which servers a pod of a cluster reaches, under its network policies: pods that listen, and pods that try."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from tests.cases.cluster import apply, kubectl, pod_log, restricted_pod, wait_for

LISTEN = """
import socketserver, sys, threading
class Echo(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(b"x")
servers = [socketserver.ThreadingTCPServer(("", int(port)), Echo) for port in sys.argv[1:]]
for server in servers: threading.Thread(target=server.serve_forever).start()
print("listening", flush=True)
"""
PROBE = """
import json, socket, sys, time
def reaches(host, port, seconds):
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=2).close()
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
def stays_open(host, port, seconds):
    deadline = time.monotonic() + seconds
    while reaches(host, port, 0):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.5)
    return False
asked = json.loads(sys.argv[1])
found = {name: reaches(*where, 40) for name, where in asked["open"].items()}
found |= {name: stays_open(*where, 20) for name, where in asked["closed"].items()}  # the engine needs a moment
print(json.dumps(found), flush=True)
time.sleep(3600)
"""


def start(namespace: str, name: str, image: str, command: list[str], **labels: str) -> None:
    spec = restricted_pod({"image": image, "command": command}, automountServiceAccountToken=False)
    metadata = {"name": name, "labels": labels}
    apply(namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def listener(namespace: str, name: str, image: str, *ports: int, **labels: str) -> None:
    start(namespace, name, image, ["python3", "-c", LISTEN, *map(str, ports)], **labels)


def address(namespace: str, name: str) -> str:
    """A pod's address, once it listens."""
    wait_for(lambda: "listening" in pod_log(namespace, name), f"{name} to listen")
    return kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.podIP}")


def probe(
    namespace: str, name: str, image: str, servers: Mapping[str, tuple[str, int]], may_reach: Collection[str],
    **labels: str,
) -> None:  # fmt: skip
    """Start a pod that tries servers by name: those that it may reach patiently, the others until they are closed."""
    asked = {
        "open": {server: where for server, where in servers.items() if server in may_reach},
        "closed": {server: where for server, where in servers.items() if server not in may_reach},
    }
    start(namespace, name, image, ["python3", "-c", PROBE, json.dumps(asked)], **labels)


def reached(namespace: str, name: str) -> set[str]:
    """The servers that a probe reached, once it has tried all."""
    printed = wait_for(lambda: pod_log(namespace, name), f"the answer of {name}")
    return {server for server, is_open in json.loads(printed).items() if is_open}
