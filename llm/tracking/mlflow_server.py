"""Talking to MLflow: where it is, how long it may take, and what went wrong in plain words.

MLflow takes seconds to import, so that happens in functions only. `llm.telemetry` switches off its usage reports.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Error as SqliteError
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from llm.config import TrackingConfig
from llm.errors import ServiceError, causes
from llm.tracking.mlflow_database import ARTIFACTS, check_place, database, ensure_database, is_made
from llm.tracking.moved import settle
from llm.words import shortened

if TYPE_CHECKING:
    from mlflow import MlflowClient


def tracking_uri(config: TrackingConfig, runs: Path) -> str:
    """The configured server, or the SQLite database next to the runs."""
    return config.uri or f"sqlite:///{database(runs)}"


def is_untouched(config: TrackingConfig, runs: Path) -> bool:
    """Whether the database is a file that is not there yet: nobody needs to import MLflow, which would make it."""
    file = database(runs) if config.uri is None else sqlite_file(config.uri)
    return file is not None and not is_made(file)


def artifact_location(config: TrackingConfig, runs: Path) -> str | None:
    """The place of a new experiment's files: next to the database; None leaves it to the server."""
    return (runs.resolve() / ARTIFACTS).as_uri() if config.uri is None else None


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for any other address, and for one that SQLite reads in its own way."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if path == uri or not path or path.startswith((":", "file:")) or "%" in path:
        return None
    return Path(path).absolute()


def is_server(uri: str) -> bool:
    """Whether MLflow is reached over HTTP, and not through a database on our side."""
    return urlsplit(uri).scheme in ("http", "https")


@contextmanager
def connection(config: TrackingConfig, runs: Path, *, retries: int = 0) -> Iterator[MlflowClient]:
    """A client whose every answer takes `timeout_seconds` at most, `retries` more tries not counted.

    Raises ServiceError, with the address and the reason or status, for whatever MLflow or its store refuses in the
    body of the `with`, UserError for a database that cannot be where it should.
    """
    uri = tracking_uri(config, runs)
    if config.uri is None:
        check_place(runs)
    with _bounded(config.timeout_seconds, retries):
        with _quietly():
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from requests.exceptions import RequestException  # type: ignore[import-untyped]
            from sqlalchemy.exc import SQLAlchemyError

        try:
            with _quietly():
                if (file := sqlite_file(uri)) is not None:
                    ensure_database(file)
                client = MlflowClient(uri)
            if config.uri is None and (files := artifact_location(config, runs)) is not None:
                settle(database(runs), files)
            yield client
        except (MlflowException, RequestException, SQLAlchemyError, SqliteError, OSError) as error:
            raise ServiceError(
                f"MLflow at {without_password(uri)}: {reason(error, config.timeout_seconds)}",
                "The figures are kept in the run's events.jsonl and is delivered when MLflow answers again.",
                "Set tracking.uri to another server, or leave it out for a database next to the runs.",
            ) from error


def without_password(uri: str) -> str:
    """The address as it may be shown."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def reason(error: BaseException, timeout_seconds: float) -> str:
    """The cause, in a line: no answer and why, or the status and words that the server sent."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as RequestsConnectionError
    from requests.exceptions import RetryError, Timeout

    chain = list(causes(error))
    if any(isinstance(link, Timeout | TimeoutError) for link in chain):
        return f"no answer within {timeout_seconds:g} s"
    system = next((link for link in chain if isinstance(link, OSError) and link.errno and link.strerror), None)
    if any(isinstance(link, RequestsConnectionError) for link in chain):
        return f"does not answer: {system.strerror if system else shortened(str(chain[-1]))}"
    if any(isinstance(link, RetryError) for link in chain):
        status = re.search(r"too many (\d+) error responses", str(error))
        return f"answers with status {status[1]}" if status else shortened(str(error))
    if isinstance(error, MlflowException):
        status = re.search(r"failed with error code (\d+)", str(error))
        code = int(status[1]) if status else int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        return f"refused with status {code}: {shortened(str(error))}"
    return shortened(str(error))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep MLflow's housekeeping (migrations, deprecations) off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for name in ("mlflow", "alembic"):  # after the import, which sets its own levels
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _bounded(timeout_seconds: float, retries: int) -> Iterator[None]:
    """MLflow reads its limits from the environment, at each request."""
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout_seconds))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
