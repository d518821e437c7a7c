"""Two machines on this one: network namespaces with a cable between them, as two nodes of a training see each other.

Only root may make them, with iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

INTERFACE = "cable"


@dataclass(frozen=True)
class Machine:
    """A network namespace."""

    name: str
    address: str

    def start(self, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a process there. It keeps its pid: `ip` becomes the command."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], env={**os.environ, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def missing() -> str | None:
    """Why there can be no such machines here; None if there can."""
    if shutil.which("ip") is None:
        return "needs `ip` (iproute2)"
    made = subprocess.run(["ip", "netns", "add", name := f"mill-{os.getpid()}"], capture_output=True, text=True)
    if made.returncode:
        return f"may make no network namespace: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two namespaces that reach each other and nothing else; gone afterwards."""
    mark = os.urandom(3).hex()
    machines = tuple(Machine(f"mill-{mark}-{end}", f"10.213.0.{number}") for number, end in ((1, "a"), (2, "b")))
    try:
        for machine in machines:
            _ip("netns", "add", machine.name)
        first, second = machines
        _ip("link", "add", INTERFACE, "netns", first.name, "type", "veth", "peer", INTERFACE, "netns", second.name)
        for machine in machines:
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", INTERFACE)
            for interface in ("lo", INTERFACE):
                _ip("-n", machine.name, "link", "set", interface, "up")
        yield first, second
    finally:
        for machine in machines:
            subprocess.run(["ip", "netns", "delete", machine.name], capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
