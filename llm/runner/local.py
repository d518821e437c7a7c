"""A whole pipeline on this machine: KFP's local runner, with a subprocess or a container for each step.

KFP runs the DAG; what the user sees comes from the run's event log, and KFP's own output goes to
`pipeline.log` in the run folder. Stopping (Ctrl-C, SIGTERM) is passed on to the step that runs: training saves
a checkpoint and ends with 75, and the exit handler still writes the report.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from llm.adoption.find import check_adopted
from llm.config import RunConfig, to_parameter, to_yaml, without_secrets
from llm.errors import EXIT_FAULT, EXIT_OK, GateNotPassed, Preempted
from llm.process.memory import MemorySampler
from llm.process.signals import while_signals
from llm.process.stop import RUNNER_PID
from llm.report import write_report
from llm.runner.preflight import preflight
from llm.runner.subprocesses import Subprocesses
from llm.runs.event_kinds import (
    Event,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepStarted,
    StopRequested,
    Warned,
)
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder, run_folder, run_name
from llm.runs.origin import machine, versions
from llm.steps import steps_of
from llm.steps.outcome import refusal
from llm.storage import only_process_in, sha256_of_json
from llm.storage.products import GateCounts
from llm.tracking.progress import Follower


@dataclass(frozen=True)
class RunOutcome:
    """The end of a run: its folder, exit code and reason, and the time and memory that it took."""

    folder: RunFolder
    exit_code: int
    message: str | None
    seconds: float
    step_seconds: dict[str, float]
    reused: tuple[str, ...]
    peak_memory_bytes: int | None

    @property
    def is_whole(self) -> bool:
        """Whether every step ended that had to: the run did not stop or fail on its way."""
        return self.exit_code in (EXIT_OK, GateNotPassed.exit_code)

    @property
    def overhead_seconds_per_step(self) -> float | None:
        """Seconds that KFP and the start of Python cost, a step; None if no step ended."""
        steps = len(self.step_seconds)
        return (self.seconds - sum(self.step_seconds.values())) / steps if steps else None


class StepRunner(Protocol):
    """A place that runs the steps of a run."""

    name: str

    def check(self, pipeline: Callable[..., Any], config: RunConfig) -> list[str]:
        """Warnings; raises UserError or ServiceError for a fault that would keep every step from running."""

    def ready(self, pipeline: Callable[..., Any], config: RunConfig, folder: RunFolder) -> AbstractContextManager[Any]:
        """KFP's runner, for as long as the pipeline runs."""

    def details(self) -> dict[str, Any]:
        """Facts that the run's log keeps of it."""

    def processes(self) -> list[int]:
        """Processes of steps that do not descend from this one."""


def run_locally(
    pipeline: Callable[..., Any],
    name: str,
    config: RunConfig,
    command: str,
    terminal: TextIO = sys.stderr,
    steps: StepRunner | None = None,
) -> RunOutcome:
    """Run a compiled-in pipeline to its end and say how it ended; never raises for a failed step.

    `steps` runs each step; None: a subprocess. Raises BusyError if another run works in the same folder, and UserError
    for what needs no step to be found wrong.
    """
    steps = steps or Subprocesses()
    warnings = [*preflight(config), *steps.check(pipeline, config)]
    check_adopted(config)
    config = config.model_copy(
        update={"run": config.run.model_copy(update={"name": config.run.name or run_name(name, config)})}
    )
    folder = run_folder(config.run.folder, str(config.run.name))
    with only_process_in(folder.path):
        return _run(pipeline, name, config, command, folder, terminal, warnings, steps)


def _run(
    pipeline: Callable[..., Any],
    name: str,
    config: RunConfig,
    command: str,
    folder: RunFolder,
    terminal: TextIO,
    warnings: list[str],
    steps: StepRunner,
) -> RunOutcome:
    folder.write_config(to_yaml(config))
    log = EventLog(folder.events)
    before = len(log.read())
    log.emit(
        RunStarted(
            pipeline=name,
            command=without_secrets(command),
            versions=versions(),
            machine=machine(),
            config_sha256=sha256_of_json(config.model_dump(mode="json")),
            runner=steps.name,
            **steps.details(),
        )
    )
    started = time.monotonic()
    with Follower(folder.events, terminal), MemorySampler(steps.processes) as memory, _passing_on_signals(log):
        for warning in warnings:
            log.emit(Warned(message=warning))
        _run_with_kfp(pipeline, config, folder, steps)
    seconds = time.monotonic() - started
    events = log.read()[before:]
    exit_code, message = _verdict(name, events, folder)
    log.emit(RunFinished(exit_code=exit_code, seconds=round(seconds, 3), peak_memory_bytes=memory.peak_bytes))
    write_report(folder)  # once more, with the whole time and the peak of memory
    ended = [event for event in events if isinstance(event, StepFinished | StepFailed)]
    return RunOutcome(
        folder=folder,
        exit_code=exit_code,
        message=message,
        seconds=seconds,
        step_seconds={event.step: event.seconds for event in ended if event.seconds is not None},
        reused=tuple(event.step for event in ended if isinstance(event, StepFinished) and event.reused),
        peak_memory_bytes=memory.peak_bytes,
    )


def _run_with_kfp(pipeline: Callable[..., Any], config: RunConfig, folder: RunFolder, steps: StepRunner) -> None:
    """Run the DAG; how each step ended is in the event log, so KFP's own verdict is not needed."""
    from kfp import local

    os.environ[RUNNER_PID] = str(os.getpid())
    root = folder.path / "kfp"
    shutil.rmtree(root, ignore_errors=True)  # of an attempt that was killed
    with (
        (folder.path / "pipeline.log").open("a", buffering=1) as output,
        redirect_stdout(output),
        redirect_stderr(output),
        _log_records_to(output),
        _temporary_files_in(root / "tmp"),
        steps.ready(pipeline, config, folder) as runner,
    ):
        local.init(runner, pipeline_root=str(root), raise_on_error=False)
        pipeline(config=to_parameter(config))
    shutil.rmtree(root, ignore_errors=True)  # small copies of the manifests, which the run folder has


def _verdict(name: str, events: list[Event], folder: RunFolder) -> tuple[int, str | None]:
    """Exit code and reason of this invocation: a failed or killed step's, else the gate's, else a fault of ours."""
    for event in events:
        if isinstance(event, StepFailed):
            return EXIT_FAULT if event.exit_code is None else event.exit_code, f"{event.step}: {event.message}"
    finished = {event.step for event in events if isinstance(event, StepFinished)}
    killed = [event.step for event in events if isinstance(event, StepStarted) and event.step not in finished]
    if killed:  # a step that ends with an error says so itself
        return Preempted.exit_code, (
            f"{killed[0]}: the process of the step was killed\n  By hand, or for lack of memory; its output is in"
            f" {folder.path / 'pipeline.log'}.\n  Run the same command again to go on."
        )
    refusing = refusal(steps_of(name), finished.__contains__, folder)
    left = [
        step for step in steps_of(name)
        if step.name not in finished and (refusing is None or step.only_if != refusing.name)
    ]  # fmt: skip
    if (left or not finished) and any(isinstance(event, StopRequested) for event in events):
        return Preempted.exit_code, "stopped on request: run the same command again to go on"
    if left or not finished:
        return EXIT_FAULT, f"the pipeline ended early; its output is in {folder.path / 'pipeline.log'}"
    if refusing is not None:
        verdict = GateCounts.of(folder.manifest(refusing.name)).verdict
        return GateNotPassed.exit_code, f"the {refusing.name} said {verdict}: {refusing.verdict}"
    return EXIT_OK, None


@contextmanager
def _passing_on_signals(log: EventLog) -> Iterator[None]:
    """While the run lasts, a stop signal stops the step that runs, or else the next one, before its work."""

    def pass_on(number: int) -> None:
        log.emit(StopRequested())  # each step looks for this after it has told its pid, so none slips through
        running = None
        for event in log.read():
            if isinstance(event, StepStarted):
                running = event.pid
            elif isinstance(event, RunStarted | StepFinished | StepFailed):
                running = None
        if running is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(running, signal.SIGTERM)

    with while_signals(pass_on):
        yield


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let temporary files of this process and of the steps lie in `folder`: KFP leaves some behind at every step."""
    folder.mkdir(parents=True)
    cached, environment = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir, os.environ["TMPDIR"] = None, str(folder.resolve())
    try:
        yield
    finally:
        tempfile.tempdir = cached
        if environment is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = environment


@contextmanager
def _log_records_to(output: TextIO) -> Iterator[None]:
    """Send what libraries log to a file instead of the terminal."""
    handler = logging.StreamHandler(output)
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers = [handler]
    try:
        yield
    finally:
        root.handlers = before
