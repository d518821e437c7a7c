"""A model tried before it replaces another: what the chart's hook runs (`python -m llm.serving.pod.trial URI MODEL`).

The repository is fetched and verified, a Triton of this pod's own loads it, and one completion is asked for twice:
greedy decoding has one right answer. Whatever goes wrong ends with a plain error in the last lines of the log, which
Helm prints, and with nothing changed in the release.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from llm.errors import GristmillError, ServiceError, UserError
from llm.serving.pod.answer import same_answer_twice
from llm.serving.pod.fetch import fetch_repository
from llm.serving.triton.endpoints import free_endpoints
from llm.serving.triton.server import TritonServer, find_installation
from llm.storage.products import RepositoryCounts

TOKENS = 8
NEWS_SECONDS = 30.0


def main(arguments: list[str] | None = None) -> int:
    """0 if the model serves; otherwise the error's exit code, with the error as the last lines of standard error."""
    parser = argparse.ArgumentParser(prog="python -m llm.serving.pod.trial")
    parser.add_argument("uri", help="the model repository, file:// or s3://")
    parser.add_argument("model", help="name of the model in it")
    parser.add_argument("--folder", type=Path, required=True, help="where to fetch it to")
    parser.add_argument("--limit", help="most that it may hold, like 2Gi")
    parser.add_argument("--seconds", type=int, default=180, help="how long all of it may take")
    parser.add_argument("--secret", default="", help="name of the Secret that S3's keys come from, for the messages")
    given = parser.parse_args(arguments)
    trial = Trial()
    trial.give_up_after(given.seconds)
    try:
        refuse_missing_keys(given.uri, given.secret)
        trial.run(given.uri, given.model, given.folder, given.limit)
    except GristmillError as error:
        say(f"error: {error}")
        return error.exit_code
    finally:
        signal.alarm(0)
    return 0


class Trial:
    """One trial. It remembers its last step, so that the message can name it when the time is over."""

    def __init__(self) -> None:
        """Nothing is tried before `run`."""
        self.at = "the start"
        self._said = time.monotonic()

    def run(self, uri: str, model: str, folder: Path, limit: str | None = None) -> None:
        """Fetch, serve and ask; raises GristmillError with the reason why this model cannot be served."""
        manifest = fetch_repository(uri, folder, limit=limit, progress=self.tell)
        repository = RepositoryCounts.of(manifest)
        if (found := repository.model_name) != model:
            raise UserError(
                f"repository {manifest.id} holds the model {found}, not {model}", f"Set model.name={found}."
            )
        with TritonServer(find_installation(), folder, free_endpoints(), self.tell) as server:
            server.load(model)
            self.tell(f"asking {model} for a completion")
            answer = same_answer_twice(server.url, model, "def ", TOKENS)
        say(f"trial: version {repository.version} of {model} serves: 'def ' goes on with {answer!r}")

    def tell(self, message: str) -> None:
        """Note the work in progress; said only now and then, so that a failed trial's log is its reason alone."""
        self.at = message
        if time.monotonic() - self._said >= NEWS_SECONDS:
            self._said = time.monotonic()
            say(f"trial: {message}")

    def give_up_after(self, seconds: int) -> None:
        """End this process when that time is over, with a ServiceError that names the work in progress.

        At once: nothing may catch it, and no download that still runs is waited for. The kernel ends Triton with us.
        """

        def give_up(number: int, frame: FrameType | None) -> None:
            error = ServiceError(
                f"the trial was not done after {seconds} s; it was at: {self.at}",
                "For a larger model or a slower store: trial.timeoutSeconds, and `helm … --timeout` above 1.5 times"
                " that.",
            )
            os.write(2, f"error: {error}\n".encode())  # sys.stderr may be in the middle of a line
            os._exit(error.exit_code)

        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)


def refuse_missing_keys(uri: str, secret: str) -> None:
    """Raise UserError, naming the Secret, if keys that S3 will ask for are not in the environment."""
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not os.environ.get(name)]
    if secret and uri.startswith("s3://") and missing:
        raise UserError(
            f"s3.existingSecret={secret}: there is no such Secret in this namespace, or it lacks {', '.join(missing)}",
            f"kubectl create secret generic {secret} --from-literal=AWS_ACCESS_KEY_ID=…"
            " --from-literal=AWS_SECRET_ACCESS_KEY=…",
        )


def say(message: str) -> None:
    """Write a line to the pod's log."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
