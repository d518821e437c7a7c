"""The bodies of the KFP components: a step in its own pod, the search for products before all steps, the report after.

Parameters and artifact paths in, artifacts out. A GristmillError ends the process with its exit code and its message,
without a traceback.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llm.config import from_yaml, to_yaml
from llm.errors import EXIT_OK, GateNotPassed, GristmillError, Preempted
from llm.process.cpus import keep_to_limit
from llm.process.home import ensure_home
from llm.process.reach import await_route
from llm.process.stop import die_with_runner
from llm.runs.attempt import Attempt, last_attempt
from llm.runs.event_kinds import RunFinished, RunStarted, Versions, Warned
from llm.runs.mirror import mirrored
from llm.runs.origin import kfp_run, versions
from llm.steps.outcome import refusal
from llm.steps.pods import REPORT, REUSE
from llm.steps.registry import STEPS
from llm.steps.reuse import reuse
from llm.steps.run import open_context, run_step
from llm.steps.step import Context
from llm.steps.usage import accounted
from llm.storage import Manifest, is_s3, open_objects, sha256_of_json
from llm.tracking.progress import Follower

POD_LINE_SECONDS = 5.0
"""Seconds between two lines of progress in the log of a step's pod."""


@contextmanager
def _in_a_pod() -> Iterator[None]:
    """Set this process up for the work of a component, and end it plainly for an error of ours."""
    die_with_runner()
    ensure_home()
    keep_to_limit()
    try:
        yield
    except GristmillError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def run_component(name: str, config: str, given: Mapping[str, str], output: str) -> Manifest:
    """A step: the manifests that it reads at the paths `given`, by step; its own is written to `output`."""
    with _in_a_pod():
        context = open_context(from_yaml(config))
        manifests = {source: Manifest.read(path, context.store.objects.uri) for source, path in given.items()}
        with _shared_folder(context, name):
            _tell_versions(context)
            manifest = run_step(name, context, manifests)
        manifest.write(output)
    return manifest


def reuse_component(config: str, pipeline: str) -> int:
    """The search before the first step: 0 if the whole run is done with that, 1 if the steps must do it."""
    with _in_a_pod():
        context = open_context(from_yaml(config))
        with _shared_folder(context, REUSE), accounted(REUSE, context.config, context.log, from_the_start=False):
            _tell_versions(context)
            return 0 if reuse(pipeline, context) else 1


def report_component(config: str, page: str) -> None:
    """The exit handler: write the report and tell the sinks how the run ended, whatever happened."""
    with _in_a_pod():
        from llm.report import write_report
        from llm.tracking.sink import open_sinks

        context = open_context(from_yaml(config))
        with (
            _shared_folder(context, REPORT),
            accounted(REPORT, context.config, context.log, from_the_start=False),
        ):
            attempt = last_attempt(context.folder.events)
            died = any(step.state == "unfinished" for step in attempt.steps.values())
            exit_code = Preempted.exit_code if died else EXIT_OK  # a step tells every error itself, so it was killed
            if attempt.failure is not None and attempt.failure.exit_code is not None:
                exit_code = attempt.failure.exit_code
            _say_the_end(context, attempt, exit_code)
            shutil.copyfile(write_report(context.folder), _made(page))
            for sink in open_sinks(context.folder, context.config.tracking):
                delivery = sink.finish(exit_code)
                if delivery.error is not None:
                    context.log.emit(Warned(message=f"{sink.name} was not told all of this run: {delivery.error}"))


def _say_the_end(context: Context, attempt: Attempt, exit_code: int) -> None:
    """Say in the log of a run on a cluster that it ended: on one machine, the command that began it says so."""
    if not is_s3(context.config.run.folder):
        return
    if exit_code == EXIT_OK and refusal(STEPS.values(), attempt.finished, context.folder) is not None:
        exit_code = GateNotPassed.exit_code
    context.log.emit(RunFinished(exit_code=exit_code, seconds=round(attempt.seconds or 0.0, 3)))


@contextmanager
def _shared_folder(context: Context, step: str) -> Iterator[None]:
    """The run's folder as the other steps see it: theirs and ours is one, or ours is a copy of that in the store.

    In a pod nobody else begins the attempt or follows the events: it does the first, and tells them to its log.
    """
    folder = context.config.run.folder
    if not is_s3(folder):
        yield
        return
    await_route(os.environ.get("AWS_ENDPOINT_URL"))
    home = open_objects(folder).below(context.folder.name)
    with mirrored(context.folder, home, step):
        _begin_attempt(context)
        with Follower(context.folder.events, sys.stderr, POD_LINE_SECONDS):
            yield


def _begin_attempt(context: Context) -> None:
    """Keep the configuration, and say in the log that this run of Kubeflow Pipelines began, if no step of it has."""
    context.folder.write_config(to_yaml(context.config))
    begun = context.log.of_kind(RunStarted)
    if not begun or begun[-1].kfp_run != kfp_run():
        context.log.emit(
            RunStarted(
                versions={name: version for name, version in versions().items() if version},  # others have other images
                config_sha256=sha256_of_json(context.config.model_dump(mode="json")),
                runner="kubeflow",
                kfp_run=kfp_run(),
            )
        )


def _tell_versions(context: Context) -> None:
    """Say which versions this step's image has that nobody told of the attempt; images may differ in one."""
    told = last_attempt(context.folder.events).versions
    more = {}
    for name, version in versions().items():
        known = told.get(name)
        if version is not None and version not in (known or "").split(", "):
            more[name] = f"{known}, {version}" if known else version
    if told and more:
        context.log.emit(Versions(versions=more))


def _made(path: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Path(path)


def figures(manifest: Manifest) -> dict[str, float]:
    """The numbers among a manifest's counts, nested names joined by dots: what KFP shows as metrics."""
    return dict(_flatten("", manifest.counts))


def _flatten(prefix: str, value: object) -> list[tuple[str, float]]:
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flatten(f"{prefix}.{key}" if prefix else key, inner)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [(prefix, float(value))]
    return []
