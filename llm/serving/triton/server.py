"""A Triton server as a child process: started, loaded, watched and stopped.

Explicit model control: nothing is served until `load`. A version that fails to load leaves the one that was served
before in place. Triton keeps no state, so stopping it loses only the requests in flight.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from llm.errors import ServiceError, UserError
from llm.process.children import dying_with_this_process
from llm.process.signals import while_signals
from llm.serving.triton.endpoints import Endpoints
from llm.serving.triton.installation import Installation, find_installation

__all__ = ["Installation", "TritonServer", "find_installation"]

READY_SECONDS = 60
STOP_SECONDS = 15
LOAD_SECONDS = 600
POLL_SECONDS = 0.1
LOG_TAIL = 15
"""Last lines of Triton's log that an error quotes."""


class TritonServer:
    """A tritonserver over one model repository; a context manager that starts and stops it."""

    def __init__(
        self,
        installation: Installation,
        repository: Path,
        endpoints: Endpoints,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare a server; nothing runs before `start` or `with`. `progress` gets a line about what it waits for."""
        self.url = endpoints.url
        self.endpoints = endpoints
        self._installation = installation
        self.repository = repository
        self._progress = progress or (lambda message: None)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises UserError for a port in use, ServiceError with Triton's own words if it does not come up.
        """
        self._refuse_taken_ports()
        self._log = tempfile.NamedTemporaryFile(prefix="gristmill-triton-", suffix=".log")  # noqa: SIM115
        self._process = subprocess.Popen(
            self._command(),
            env=self._installation.environment(),
            cwd=self._installation.root,  # its Python backend imports from the working directory first
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us; we stop it in order
            preexec_fn=dying_with_this_process(),
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def load(self, name: str) -> None:
        """Load the newest version of a model, or load it again after a change of the repository.

        Raises ServiceError with Triton's reason; the version that was served before then goes on answering.
        """
        self._progress(f"loading {name}")
        status, answer = self._request("POST", f"/v2/repository/models/{name}/load", {})
        if status != 200:
            raise ServiceError(
                f"Triton could not load {name}: {_reason(answer)}",
                "A version that was served before is still served. Repository: " + str(self.repository),
            )

    def unload(self, name: str) -> None:
        """Stop serving a model; raises ServiceError with Triton's reason."""
        status, answer = self._request("POST", f"/v2/repository/models/{name}/unload", {})
        if status != 200:
            raise ServiceError(f"Triton could not unload {name}: {_reason(answer)}")

    def is_ready(self, name: str, version: int | None = None) -> bool:
        """Whether a model, or one version of it, answers."""
        which = f"/v2/models/{name}" + (f"/versions/{version}" if version is not None else "")
        return self._request("GET", f"{which}/ready")[0] == 200

    def wait(self) -> None:
        """Wait until the server ends by itself, or a stop signal; raises ServiceError if it ended by itself."""
        assert self._process is not None, "start it first"
        try:
            with while_signals(_interrupt):
                code = self._process.wait()
        except KeyboardInterrupt:
            return
        raise ServiceError(f"Triton ended with {code}", *self._tail())

    def stop(self) -> None:
        """End the server: it finishes what is in flight for a while, then it is killed. Safe to call twice."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS + 5)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _command(self) -> list[str]:
        server, endpoints = self._installation.server, self.endpoints
        return [
            str(server / "bin" / "tritonserver"),
            f"--model-repository={self.repository.absolute()}",
            "--model-control-mode=explicit",
            f"--backend-directory={server / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name=gristmill-{os.getpid()}-{endpoints.http_port}",
            "--disable-auto-complete-config",
            f"--exit-timeout-secs={STOP_SECONDS}",
            *(f"--{kind}-address={endpoints.address}" for kind in endpoints.ports),
            *(f"--{kind}-port={port}" for kind, port in endpoints.ports.items()),
        ]

    def _refuse_taken_ports(self) -> None:
        address = self.endpoints.address
        for kind, port in self.endpoints.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just let go is free
                try:
                    probe.bind((address, port))
                except OSError as error:
                    raise UserError(
                        f"port {port} of {address} cannot be used for Triton's {kind}: {error.strerror}",
                        f"Stop the program that uses it, or choose another port with --{kind}-port.",
                    ) from error

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        self._progress("waiting for Triton")
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            code = self._process.poll()
            if code is not None:
                raise ServiceError(f"Triton ended with {code} before it was ready", *self._tail())
            if time.monotonic() > deadline:
                raise ServiceError(f"Triton was not ready after {READY_SECONDS} s", *self._tail())
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            return self._request("GET", "/v2/health/ready")[0] == 200
        except ServiceError:
            return False

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and body of an answer; raises ServiceError if there is none."""
        connection = HTTPConnection(self.endpoints.address, self.endpoints.http_port, timeout=LOAD_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, HTTPException) as error:
            raise ServiceError(f"Triton at {self.url} does not answer: {error}") from error
        finally:
            connection.close()

    def _tail(self) -> list[str]:
        """The last lines of Triton's log."""
        assert self._log is not None
        lines = Path(self._log.name).read_text(errors="replace").splitlines()
        return lines[-LOG_TAIL:]


def _reason(answer: str) -> str:
    """The reason in an error answer of Triton's."""
    try:
        return str(json.loads(answer)["error"]).strip()
    except (ValueError, KeyError, TypeError):
        return answer.strip() or "no reason given"


def _interrupt(number: int) -> None:
    raise KeyboardInterrupt
