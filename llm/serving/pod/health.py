"""Whether a Triton in this container can still answer: what a pod's liveness probe runs.

    python -m llm.serving.pod.health

Triton's own `/v2/health/live` is not enough. The model runs in a process of its own (the Python backend's stub), and
when that has died, killed for memory for instance, Triton goes on to call itself and the model ready, and fails every
request. So the process is looked for too. Standard library only: a probe has to start quickly.
"""

from __future__ import annotations

import argparse
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

STUB = "triton_python_backend_stub"[:15]
"""A model's process, by the name that the kernel keeps: its first 15 characters."""
ANSWER_SECONDS = 4.0


def main(arguments: list[str] | None = None) -> int:
    """0 if Triton and its model's process live; otherwise 1, and the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m llm.serving.pod.health")
    parser.add_argument("--port", type=int, default=8000, help="Triton's HTTP port on this machine")
    parser.add_argument(
        "--triton", type=int, default=1, metavar="PID", help="Triton's process: in a container, the first"
    )
    given = parser.parse_args(arguments)
    reason = None if model_process_lives(given.triton) else "the model's process has died"
    reason = reason or not_live(given.port)
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 1
    return 0


def model_process_lives(triton: int = 1) -> bool:
    """Whether a model of that Triton has its process."""
    return bool(model_processes(triton))


def model_processes(triton: int = 1) -> list[int]:
    """Processes of the Python backend of that Triton, the mere remains of one that died left out."""
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _is_stub(folder, triton)]


def not_live(port: int) -> str | None:
    """The fault in Triton's own answer to whether it lives; None if there is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/v2/health/live")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"Triton does not answer: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"Triton says that it does not live: {status}"


def _is_stub(folder: Path, triton: int) -> bool:
    try:
        status = (folder / "stat").read_text()
    except OSError:  # it ended while we looked
        return False
    name, _, rest = status.partition("(")[2].rpartition(")")
    state, parent, *_ = rest.split()
    return name == STUB and state != "Z" and int(parent) == triton


if __name__ == "__main__":
    sys.exit(main())
