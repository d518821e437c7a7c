"""Weights & Biases as a sink: a run there for each run here, with the same numbers by the same names as in MLflow.

Its own variables say where it goes: `WANDB_API_KEY`, `WANDB_BASE_URL`, `WANDB_ENTITY`. With `WANDB_MODE=offline`
nothing is sent; `wandb sync` does it later, from the folder `wandb` in the run's folder. The project is
`tracking.experiment`. No source, no fact about the machine and no output of the program goes along.

W&B takes no number back. So a training that goes on from step k does not send the steps again that were sent before
it was cut off. One that begins again at step 0, or goes back from spikes, gets another run there.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from llm.config import TrackingConfig
from llm.runs.event_kinds import Event, RolledBack, TrainPlan
from llm.runs.folder import RunFolder
from llm.tracking.points import parameters, points
from llm.tracking.sink import EventSink

ID, SENT = "id", "sent"
OFFLINE = ("offline", "dryrun", "disabled")
QUIET = {
    "console": "off", "silent": True, "disable_git": True, "disable_code": True, "save_code": False,
    "x_disable_stats": True, "x_disable_meta": True, "x_disable_machine_info": True, "reinit": "create_new",
}  # fmt: skip
"""Settings of W&B: the events alone."""
_runs: dict[str, Any] = {}
"""The open runs of this process by their ids, for all sinks in it: W&B refuses to open one twice."""


class WandbSink(EventSink):
    """Live where it sends; what is offline is written at the end of the run, in one piece."""

    name = "wandb"
    package = "wandb"

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None:
        """Follow the run in `folder`."""
        super().__init__(folder, config)
        self.is_live = os.environ.get("WANDB_MODE") not in OFFLINE

    def take(self, event: Event) -> None:
        """Send its numbers, those of a step once."""
        begins = isinstance(event, RolledBack) or (isinstance(event, TrainPlan) and event.start == 0)
        if begins and self.state.get(SENT):
            self._end(None)
            self.state.clear()
        found = points(event)
        if not found:
            return
        values, step = {point.name: point.value for point in found}, found[0].step
        if not step:  # of the run as a whole
            self._opened().summary.update(values)
            return
        sent = self.state.setdefault(SENT, {})
        if step <= sent.get(event.kind, 0):
            return
        self._opened().log({"step": step, **values})
        sent[event.kind] = step

    def close(self, exit_code: int) -> None:
        """Say how the run ended, and wait until all is sent."""
        if ID in self.state:
            self._opened()
            self._end(exit_code)

    def _opened(self) -> Any:
        """The run there, made or found by the id that is kept."""
        key = self.state.setdefault(ID, uuid.uuid4().hex[:12])
        if key not in _runs:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would send its own faults home
            import wandb

            config = self.folder.read_config()
            run = wandb.init(
                project=self.config.experiment, name=self.folder.name, id=key, resume="allow",
                dir=str(self.folder.path), config={} if config is None else parameters(config),
                settings=wandb.Settings(init_timeout=self.config.timeout_seconds, **QUIET),
            )  # fmt: skip
            run.define_metric("step", hidden=True)
            run.define_metric("*", step_metric="step")
            _runs[key] = run
        return _runs[key]

    def _end(self, exit_code: int | None) -> None:
        if (run := _runs.pop(self.state.get(ID, ""), None)) is not None:
            run.finish(exit_code=exit_code)


SINK = WandbSink
