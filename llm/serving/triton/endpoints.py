"""Where a Triton listens. It decides nothing of a run, so it is no part of the configuration."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

ADDRESS = "127.0.0.1"
"""This machine only: Triton asks nobody for a key."""


@dataclass(frozen=True)
class Endpoints:
    """One address, and a port for each of the three protocols; the defaults are Triton's own ports."""

    address: str = ADDRESS
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002

    @property
    def url(self) -> str:
        """Where Triton answers HTTP."""
        return f"http://{self.address}:{self.http_port}"

    @property
    def ports(self) -> dict[str, int]:
        """Port by protocol, as Triton's options name it: http, grpc, metrics."""
        return {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}


def free_endpoints() -> Endpoints:
    """Endpoints of this machine that nothing uses now. Another program could take one before the server does."""
    with ExitStack() as sockets:
        probes = [sockets.enter_context(socket.create_server((ADDRESS, 0))) for _ in range(3)]
        http, grpc, metrics = (probe.getsockname()[1] for probe in probes)
    return Endpoints(http_port=http, grpc_port=grpc, metrics_port=metrics)
