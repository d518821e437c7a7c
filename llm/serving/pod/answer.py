"""A question to a served model. Two answers to it must be equal. `helm test` runs this.

    python -m llm.serving.pod.answer http://SERVICE:8000 MODEL

Greedy decoding has one right answer, so a stream that differs from a second one, asked for later and perhaps of
another replica, is wrong.
"""

from __future__ import annotations

import argparse
import sys

from llm.errors import GristmillError, ServiceError
from llm.process.reach import await_route
from llm.serving.triton.client import complete, stream


def main(arguments: list[str] | None = None) -> int:
    """Print the answer; 0 if it came in pieces and twice the same, otherwise the error and its exit code."""
    parser = argparse.ArgumentParser(prog="python -m llm.serving.pod.answer")
    parser.add_argument("url", help="Triton's HTTP address")
    parser.add_argument("model")
    parser.add_argument("--prompt", default="def ")
    parser.add_argument("--tokens", type=int, default=24)
    given = parser.parse_args(arguments)
    await_route(given.url)
    try:
        answer = same_answer_twice(given.url, given.model, given.prompt, given.tokens)
    except GristmillError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{given.model} at {given.url} streams, and answers twice the same:\n{given.prompt}{answer}\n")
    return 0


def same_answer_twice(url: str, model: str, prompt: str, tokens: int) -> str:
    """The greedy continuation; raises ServiceError if the server fails, or gives two different ones."""
    first = "".join(piece.text for piece in stream(url, model, prompt, max_tokens=tokens))
    again = complete(url, model, prompt, max_tokens=tokens)
    if first != again:
        raise ServiceError(
            f"{model} at {url} gives two answers to one question",
            f"first:  {first!r}",
            f"second: {again!r}",
            "Greedy decoding has one right answer: do the replicas serve different versions?",
        )
    return first


if __name__ == "__main__":
    sys.exit(main())
