"""Triton's side of the model: requests in, one response a token out (decoupled Python backend).

Runs in Triton's own Python, next to `decoding.py` and the exported model, and imports nothing of `llm`.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from decoding import BadRequest, Decoder, Request  # type: ignore[import-not-found]  # copied next to this file


class OpenRequests:
    """The number of open requests, in a small file that a drain on the same machine reads (`pod/open_requests.py`).

    No metric of Triton's: its Python backend (2.51) crashes when two threads change one at the same time.
    """

    def __init__(self) -> None:
        """Begin at none; without a place to write, the drain counts connections."""
        name = f"gristmill-open-requests-{os.getppid()}-{os.getpid()}"
        self._path, self._lock, self._count = Path(tempfile.gettempdir()) / name, threading.Lock(), 0
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.add(0)

    def add(self, change: int) -> None:
        """One more, or one less."""
        with self._lock, suppress(OSError):
            self._count += change
            if self._file is not None:
                os.pwrite(self._file, b"%10d\n" % self._count, 0)

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


class Answer:
    """A request's stream of responses; the request is open until its last one."""

    def __init__(self, sender: Any, open_requests: OpenRequests) -> None:
        """Take the request's response sender, and the count of open requests."""
        self._sender, self._open_requests = sender, open_requests
        open_requests.add(1)

    def token(self, text: str, token: int, finish_reason: str | None) -> None:
        """Send a token; the last one carries the reason why it is."""
        last = finish_reason is not None
        outputs = [
            pb_utils.Tensor("text_output", np.array([text.encode()], dtype=np.object_)),
            pb_utils.Tensor("token_id", np.array([token], dtype=np.int32)),
            pb_utils.Tensor("final", np.array([last])),
            pb_utils.Tensor("finish_reason", np.array([(finish_reason or "").encode()], dtype=np.object_)),
        ]
        self._send(pb_utils.InferenceResponse(outputs), last=last)

    def fail(self, reason: str) -> None:
        """End with an error that is this request's alone."""
        self._send(pb_utils.InferenceResponse(error=pb_utils.TritonError(reason)), last=True)

    def cancelled(self) -> bool:
        """Whether the client has gone."""
        return bool(self._sender.is_cancelled())

    def close(self) -> None:
        """End without a further response."""
        self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self._open_requests.add(-1)

    def _send(self, response: Any, *, last: bool) -> None:
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)
        if last:
            self._open_requests.add(-1)


class TritonPythonModel:
    """The class that Triton calls."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the model; a failure is Triton's reason for not loading this version."""
        parameters = json.loads(arguments["model_config"])["parameters"]
        self._open_requests = OpenRequests()
        self.decoder = Decoder(
            Path(arguments["model_repository"]) / arguments["model_version"] / "onnx",
            max_slots=int(parameters["max_slots"]["string_value"]),
            max_new_tokens=int(parameters["max_new_tokens"]["string_value"]),
        )

    def execute(self, requests: list[Any]) -> None:
        """Hand the requests to the decoding thread; waits, and so leaves the rest in Triton's queue, when all
        slots are taken.
        """
        for request in requests:
            answer = Answer(request.get_response_sender(), self._open_requests)
            try:
                wanted = read(request, self.decoder.max_new_tokens)
            except BadRequest as error:
                answer.fail(str(error))
                continue
            self.decoder.submit(wanted, answer)

    def finalize(self) -> None:
        """Stop decoding."""
        self.decoder.stop()
        self._open_requests.close()


def read(request: Any, max_new_tokens: int) -> Request:
    """The request's tensors as a Request, defaults filled in; raises BadRequest."""
    prompt = _scalar(request, "text_input")
    if not isinstance(prompt, bytes):
        raise BadRequest("text_input is missing")
    try:
        text = prompt.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"text_input is not UTF-8: {error}") from error
    names = ("max_tokens", "temperature", "top_k", "top_p", "seed")
    given = {name: value for name in names if (value := _scalar(request, name)) is not None}
    return Request(text, **{"max_tokens": max_new_tokens, **given})


def _scalar(request: Any, name: str) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    values = tensor.as_numpy().ravel()
    if len(values) != 1:
        raise BadRequest(f"{name} must be one value, not {len(values)}")
    return values[0].item() if isinstance(values[0], np.generic) else values[0]
