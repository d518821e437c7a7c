"""One step of a run: find its manifests, do the work or find it done, leave its manifest, say how it ended.

The command (`gristmill tokenize`) and the KFP component come through here, so a step behaves the same in both.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from llm.config import RunConfig, from_yaml, mistake_in_named, to_yaml
from llm.errors import EXIT_FAULT, EXIT_OK, GateNotPassed, GristmillError, Preempted, UserError
from llm.process.cpus import keep_to_limit
from llm.process.home import ensure_home
from llm.process.reach import await_route
from llm.process.stop import die_with_runner, stoppable
from llm.runs.attempt import Attempt, last_attempt
from llm.runs.event_kinds import (
    Judged,
    RunFinished,
    RunStarted,
    StepExplained,
    StepFailed,
    StepFinished,
    StepStarted,
    StopRequested,
    Versions,
    Warned,
)
from llm.runs.events import EventLog
from llm.runs.folder import run_folder
from llm.runs.mirror import mirrored
from llm.runs.origin import kfp_run, versions
from llm.steps.pods import REPORT
from llm.steps.registry import STEPS
from llm.steps.step import Context, Step
from llm.steps.usage import accounted
from llm.steps.why import record, why_made
from llm.storage import Manifest, Recipe, Store, is_s3, open_objects, sha256_of_json
from llm.storage.names import give_name
from llm.tracking.progress import Follower

PASS = "PASS"  # noqa: S105 - a verdict
POD_LINE_SECONDS = 5.0
"""Seconds between two lines of progress in the log of a step's pod."""


def open_context(config: RunConfig) -> Context:
    """The run folder, store and event log that a configuration names; raises UserError without a run name."""
    if config.run.name is None:
        raise UserError("the configuration names no run", "Set run.name, or let `gristmill run` make one.")
    folder = run_folder(config.run.folder, config.run.name)
    return Context(config, folder, Store(config.storage.uri), EventLog(folder.events))


def run_step(name: str, context: Context, given: Mapping[str, Manifest]) -> Manifest:
    """Do one step with the given manifests; its own goes to the run folder. Raises the step's error."""
    step = STEPS[name]
    missing = [source for source in step.reads if source not in given]
    if missing:
        raise UserError(
            f"{name} needs the product of {', '.join(missing)}, and it is not there", f"Run {missing[0]} first."
        )
    _refuse_mixed_inputs(given)
    with stoppable():
        context.log.emit(StepStarted(step=name, pid=os.getpid()))
        started = time.monotonic()
        try:
            with accounted(name, context.config, context.log):
                if last_attempt(context.log.path).of_kind(StopRequested):
                    raise Preempted(f"stopped on request before {name}", "Run the same command again to go on.")
                with _explained(step, context):
                    manifest = _made_by(step, context, given)
                context.folder.keep(name, manifest)
        except BaseException as error:
            code = error.exit_code if isinstance(error, GristmillError) else EXIT_FAULT
            message = str(error) if isinstance(error, GristmillError) else f"{type(error).__name__}: {error}"
            with suppress(OSError):  # a full disk: what ended the step is worth more than this line
                context.log.emit(StepFailed(step=name, exit_code=code, message=message, seconds=_since(started)))
            raise
        reused = manifest.id in context.store.found
        context.log.emit(StepFinished(step=name, seconds=_since(started), reused=reused, manifest=manifest.id,
                                      product=manifest.uri, name=_named(manifest, context)))  # fmt: skip
    return manifest


def _made_by(step: Step, context: Context, given: Mapping[str, Manifest]) -> Manifest:
    """The step's product; raises UserError for an error of a module that a setting names."""
    try:
        return step.body(context, given)
    except (Exception, SystemExit) as error:
        if (mistake := mistake_in_named(error)) is not None:
            raise mistake from error
        raise


def _named(manifest: Manifest, context: Context) -> str | None:
    """The product's name that people can read; None for an outcome outside of the store.

    A name is for people: a store that does not take it does not fail the step.
    """
    if not manifest.files:
        return None
    with suppress(GristmillError, OSError):
        return give_name(context.store.objects, manifest.kind, manifest.id, context.folder.name)
    return None


@contextmanager
def _explained(step: Step, context: Context) -> Iterator[None]:
    """Say, as soon as the step looks for its product, whether it is there or which part of the recipe changed.

    At a good end the run keeps the parts of the recipes, to compare them next time.
    """
    sought: dict[str, Recipe] = {}

    def explain(recipe: Recipe, found: Manifest | None) -> None:
        if recipe.key in sought:  # a training on a pool looks again when it is done
            return
        sought[recipe.key] = recipe
        why = [] if found is not None else why_made(step, recipe, context.store, context.folder)
        context.log.emit(StepExplained(step=step.name, sought=recipe.step, reused=found is not None, why=why))

    context.store.on_find = explain
    try:
        yield
        for recipe in sought.values():
            record(context.folder, step, recipe)
    finally:
        context.store.on_find = None


def _refuse_mixed_inputs(given: Mapping[str, Manifest]) -> None:
    """Raise UserError if a given product was made from an input that is not the given input of the same kind."""
    for source, manifest in given.items():
        for read in STEPS[source].reads:
            made_from = [parent.id for parent in manifest.parents if read in given and parent.kind == given[read].kind]
            if made_from and given[read].id not in made_from:
                raise UserError(
                    f"the product of step {source} comes from another {given[read].kind} than step {read} made last",
                    f"Run {source} again.",
                )


def run_component(name: str, config: str, given: Mapping[str, str], output: str) -> Manifest:
    """A component's whole body: parameters and artifact paths in, the manifest at `output`; exits plainly.

    A GristmillError ends the process with its exit code and its message, without a traceback.
    """
    die_with_runner()
    ensure_home()
    keep_to_limit()
    try:
        context = open_context(from_yaml(config))
        manifests = {source: Manifest.read(path, context.store.objects.uri) for source, path in given.items()}
        with _shared_folder(context, name):
            _tell_versions(context)
            manifest = run_step(name, context, manifests)
        manifest.write(output)
    except GristmillError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    return manifest


def report_component(config: str, page: str) -> None:
    """The exit handler's body: write the report and tell the sinks how the run ended, whatever happened."""
    die_with_runner()
    ensure_home()
    keep_to_limit()
    from llm.report import write_report
    from llm.tracking.sink import open_sinks

    try:
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
    except GristmillError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def _say_the_end(context: Context, attempt: Attempt, exit_code: int) -> None:
    """Say in the log of a run on a cluster that it ended: on one machine, the command that began it says so."""
    if not is_s3(context.config.run.folder):
        return
    judged = attempt.of_kind(Judged)
    if exit_code == EXIT_OK and judged and judged[-1].verdict != PASS:
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


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
