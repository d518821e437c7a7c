"""MLflow as a sink: the parameters, metrics and origin of a run, its report and how it ended."""

from __future__ import annotations

from llm.config import TrackingConfig
from llm.runs.folder import RunFolder
from llm.tracking.mlflow_server import is_server, tracking_uri
from llm.tracking.mlflow_sink import deliver, finish
from llm.tracking.sink import Delivery


class MlflowSink:
    """Live where MLflow is a server: nobody watches the database next to the runs, and MLflow loads slowly."""

    name = "MLflow"

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None:
        """Follow the run in `folder`."""
        self._folder, self._config = folder, config
        self.is_live = is_server(tracking_uri(config, folder.runs))

    def deliver(self) -> Delivery:
        """Send the events that MLflow does not have yet."""
        return deliver(self._folder, self._config)

    def finish(self, exit_code: int) -> Delivery:
        """Deliver, add the report, and tell MLflow how the run ended."""
        return finish(self._folder, self._config, exit_code)


SINK = MlflowSink
