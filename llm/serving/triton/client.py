"""A streaming client of Triton's HTTP `generate_stream`: server-sent events, one a token.

Source: Triton's generate extension, docs/protocol/extension_generate.md of triton-inference-server/server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from llm.errors import ServiceError

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class StreamedToken:
    """One event of a stream."""

    text: str
    """The text that became whole with this token; may be empty."""
    token_id: int
    final: bool
    """Whether it is the last."""
    finish_reason: str | None
    """With the last: `stop` (the token is `<|endoftext|>`) or `length`."""


def stream(
    url: str,
    model: str,
    prompt: str,
    *,
    version: int | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    **parameters: Any,
) -> Iterator[StreamedToken]:
    """Yield the tokens of a continuation as they come; closing the iterator cancels the request.

    `parameters` are the model's inputs: max_tokens, temperature, top_k, top_p, seed. Raises ServiceError with
    Triton's reason for a refusal, or if the stream breaks off.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version is not None else "") + "/generate_stream"
    connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
    with closing(connection):
        try:
            connection.request("POST", path, json.dumps({"text_input": prompt, **parameters}))
            yield from _tokens(connection.getresponse(), f"{url}{path}")
        except (OSError, HTTPException) as error:
            raise ServiceError(f"Triton at {url} does not answer: {error}") from error


def complete(url: str, model: str, prompt: str, **parameters: Any) -> str:
    """The whole continuation; raises as `stream` does."""
    return "".join(token.text for token in stream(url, model, prompt, **parameters))


def _tokens(response: HTTPResponse, where: str) -> Iterator[StreamedToken]:
    if response.status != 200:
        raise ServiceError(f"{where} refused: {response.status} {_reason(response.read())}")
    for line in response:
        if not line.startswith(b"data:"):
            continue
        event = json.loads(line[len(b"data:") :])
        if "error" in event:
            raise ServiceError(f"{where} failed: {event['error']}")
        token = StreamedToken(event["text_output"], event["token_id"], event["final"], event["finish_reason"] or None)
        yield token
        if token.final:
            return
    raise ServiceError(f"the stream of {where} broke off before its last token")


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body.removeprefix(b"data:"))["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "without a reason"
