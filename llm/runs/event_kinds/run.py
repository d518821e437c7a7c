"""The beginning and the end of an attempt at a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from llm.runs.event_kinds.event import Event


class RunStarted(Event):
    """An attempt at the run began. On a cluster the first step of a submission says this."""

    kind: Literal["run_started"] = "run_started"
    pipeline: str | None = None
    """Name of the pipeline, such as `pretrain`."""
    command: str | None = None
    """The command that repeats it, without secrets."""
    versions: Mapping[str, str | None] | None = None
    """Versions of Gristmill, Python and the libraries that decide a result; null: not installed."""
    machine: Mapping[str, Any] | None = None
    """System, architecture and number of processors."""
    config_sha256: str | None = None
    """Hash of the resolved configuration."""
    runner: str | None = None
    """The runner of the steps: `subprocess`, `docker` or `kubeflow`."""
    kfp_run: str | None = None
    """Id of the run in Kubeflow Pipelines; one id is one attempt."""
    images: Mapping[str, str] | None = None
    """Id of each image, by its name, where steps run in containers on this machine."""


class Versions(Event):
    """The image of a step has libraries, or versions of them, that the attempt had not named yet."""

    kind: Literal["versions"] = "versions"
    versions: Mapping[str, str | None]
    """All versions of these libraries that the attempt has used, joined by commas."""


class StopRequested(Event):
    """A signal asked the run to stop. The step that runs stops, or else the next one, before its work."""

    kind: Literal["stop_requested"] = "stop_requested"


class RunFinished(Event):
    """The attempt ended."""

    kind: Literal["run_finished"] = "run_finished"
    exit_code: int
    """The exit code of the command."""
    seconds: float
    """Duration of the attempt."""
    peak_memory_bytes: int | None = None
    """Peak memory of all processes of the attempt together."""
