"""Delivery of a run's events to MLflow, at any time and as often as wanted.

The event log is the truth; this is a copy of it. A document in `tracking/` in the run folder says how far the copy is,
one for each address and experiment. It is written after MLflow has accepted a batch. So a crash in between sends that
batch again, and a log that `llm.runs.mirror` put together again is sent whole. A point carries the time of its event,
and the key of MLflow's database is run, metric, step, time and value. So a point that is sent twice is there once.
A server that does not answer costs one timeout and loses nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from llm.config import TrackingConfig
from llm.errors import GristmillError
from llm.runs.events import read_events
from llm.runs.folder import RunFolder
from llm.storage import is_s3, only_process_in, sha256_of_json, write_atomically
from llm.tracking.log_place import bytes_before
from llm.tracking.mlflow_database import DATABASE, experiment_is_deleted
from llm.tracking.mlflow_server import artifact_location, connection, tracking_uri, without_password
from llm.tracking.points import Point, parameters, points, status, tags
from llm.tracking.sink import Delivery

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH_POINTS = 1000
BATCH_PARAMETERS = 100
"""MLflow's limits for one request."""
RUN_KEY = "gristmill.key"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Shows MLflow's UI for training, not for language model applications."""


class Delivered(BaseModel):
    """The part of a run that one MLflow has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | None = None
    """Made before the MLflow run and kept as its tag. By it we find a run again if a crash lost its id."""
    run_id: str | None = None
    parameters: str | None = None
    """Hash of the parameters that were sent; MLflow takes them once."""
    offset: int = 0
    """Bytes of the event log that were delivered."""
    last: str | None = None
    """Hash of the last of them. Where the log has others in that place, it is delivered from its beginning."""


def deliver(folder: RunFolder, config: TrackingConfig) -> Delivery:
    """Send the events that MLflow does not have yet; never raises for a server that does not answer or refuses."""
    uploader = Uploader(folder, config)
    try:
        with uploader.working():
            uploader.send()
    except GristmillError as error:
        return Delivery(uploader.sent, uploader.pending(), str(error))
    return Delivery(uploader.sent, uploader.pending())


def finish(folder: RunFolder, config: TrackingConfig, exit_code: int) -> Delivery:
    """Deliver, add the report, and tell MLflow how the run ended; as `deliver`, never raises for MLflow's sake."""
    uploader = Uploader(folder, config)
    try:
        with uploader.working() as client:
            run_id = uploader.send()
            if folder.report.is_file():
                client.log_artifact(run_id, str(folder.report))
            client.set_terminated(run_id, status(exit_code))
    except GristmillError as error:
        return Delivery(uploader.sent, uploader.pending(), str(error))
    return Delivery(uploader.sent, uploader.pending())


class Uploader:
    """One delivery in the making."""

    _client: MlflowClient

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None:
        self._folder, self._config = folder, config
        self._path = self._file(config.uri or DATABASE)  # the database next to the runs moves with them
        self._before = self._file(tracking_uri(config, folder.runs))  # where earlier versions kept it
        self._delivered = self._read()
        self.sent = 0

    def _file(self, server: str) -> Path:
        """The file that says how much of the run a server has."""
        return self._folder.tracking / f"{sha256_of_json(f'{server} {self._config.experiment}')[:8]}.json"

    @contextmanager
    def working(self, *, retries: int = 0) -> Iterator[MlflowClient]:
        """Connected, and the only one that delivers this run; raises ServiceError, BusyError."""
        with (
            only_process_in(self._folder.tracking, wait_seconds=2 * self._config.timeout_seconds),
            connection(self._config, self._folder.runs, retries=retries) as client,
        ):
            self._delivered, self._client = self._read(), client
            yield client

    def send(self) -> str:
        """Send the parameters, then all pending events; returns the id of the MLflow run."""
        run_id = self._send_parameters(self._run())
        batch: list[Point] = []
        offset = self._delivered.offset
        for event, after in read_events(self._folder.events, offset):
            found = points(event)
            if len(batch) + len(found) > BATCH_POINTS:
                self._send_points(run_id, batch, offset)
                batch = []
            batch += found
            offset = after
            for name, value in tags(event).items():
                self._client.set_tag(run_id, name, value)
        self._send_points(run_id, batch, offset)
        return run_id

    def pending(self) -> int:
        """The number of points that were not delivered."""
        return sum(len(points(event)) for event, _ in read_events(self._folder.events, self._delivered.offset))

    def _send_points(self, run_id: str, batch: list[Point], offset: int) -> None:
        """Send one batch, and remember that everything up to `offset` is there."""
        from mlflow.entities import Metric

        if batch:
            metrics = [Metric(point.name, point.value, point.milliseconds, point.step) for point in batch]
            self._client.log_batch(run_id, metrics=metrics)
        self.sent += len(batch)
        if offset != self._delivered.offset:
            self._keep(offset=offset, last=bytes_before(self._folder.events, offset))

    def _send_parameters(self, run_id: str) -> str:
        """Send the configuration once; a changed one, which MLflow would refuse, opens a new MLflow run."""
        from mlflow.entities import Param

        config = self._folder.read_config()
        values = {} if config is None else parameters(config)
        fingerprint = sha256_of_json(values)
        if self._delivered.parameters == fingerprint:
            return run_id
        if self._delivered.parameters is not None:
            self._keep(key=None, run_id=None, parameters=None)
            run_id = self._run()
        named = [Param(name, value) for name, value in values.items()]
        for start in range(0, len(named), BATCH_PARAMETERS):
            self._client.log_batch(run_id, params=named[start : start + BATCH_PARAMETERS])
        self._keep(parameters=fingerprint)
        return run_id

    def _run(self) -> str:
        """The MLflow run of this folder: the known one, the one that a crash hid from us, or a new one."""
        if self._delivered.run_id is not None and self._is_there(self._delivered.run_id):
            return self._delivered.run_id
        experiment = self._experiment()
        if self._delivered.run_id is not None:  # somebody deleted it: another one gets the log from its beginning
            self._keep(key=None, run_id=None, parameters=None, offset=0, last=None)
        if self._delivered.key is None:
            self._keep(key=self._new_key())
        # an earlier delivery, or another pod, may have made it and died before it could say so
        found = self._client.search_runs([experiment], f"tags.`{RUN_KEY}` = '{self._delivered.key}'", max_results=1)
        run = found[0] if found else self._client.create_run(
            experiment, start_time=self._start_milliseconds(), run_name=self._folder.name,
            tags={RUN_KEY: str(self._delivered.key)},
        )  # fmt: skip
        self._keep(run_id=run.info.run_id)
        return str(run.info.run_id)

    def _is_there(self, run_id: str) -> bool:
        """Whether MLflow still has the run, and nobody deleted it."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.get_run(run_id).info.lifecycle_stage) == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _new_key(self) -> str:
        """A random key. Where the steps of a run share no disk, it follows from the run, so that all make the same."""
        config = self._folder.read_config()
        if config is None or not is_s3(config.run.folder):
            return uuid.uuid4().hex
        return sha256_of_json([config.run.folder, self._folder.name, parameters(config)])[:32]

    def _start_milliseconds(self) -> int | None:
        """Time of the first event that was not delivered: the MLflow run may be made long after it."""
        first = next(read_events(self._folder.events, self._delivered.offset), None)
        return None if first is None else round(1000 * first[0].time)

    def _experiment(self) -> str:
        """Id of the configured experiment, made now if it is not there; raises UserError if somebody deleted it."""
        from mlflow.exceptions import MlflowException

        name, location = self._config.experiment, artifact_location(self._config, self._folder.runs)
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=location, tags=KIND))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run made it meanwhile
                    raise
                experiment = self._client.get_experiment_by_name(name)
        assert experiment is not None
        if experiment.lifecycle_stage != "active":
            uri = without_password(tracking_uri(self._config, self._folder.runs))
            raise experiment_is_deleted(name, str(experiment.experiment_id), uri)
        return str(experiment.experiment_id)

    def _read(self) -> Delivered:
        path = self._path if self._path.is_file() else self._before
        if not path.is_file():
            return Delivered()
        found = Delivered.model_validate_json(path.read_bytes())
        if found.last == bytes_before(self._folder.events, found.offset):
            return found
        return found.model_copy(update={"offset": 0, "last": None})

    def _keep(self, **changes: object) -> None:
        self._delivered = self._delivered.model_copy(update=changes)
        write_atomically(self._path, self._delivered.model_dump_json(indent=1) + "\n")
