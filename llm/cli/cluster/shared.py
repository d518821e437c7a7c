"""The parts that the commands on runs share: the run that is meant, the connection, and the words at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from llm.cli.options import only_name
from llm.config import RunConfig, compose
from llm.errors import ServiceError, UserError
from llm.words import duration

if TYPE_CHECKING:
    from llm.cluster.pipelines.kfp_client import KfpApi
    from llm.cluster.pipelines.outcome import Outcome
    from llm.cluster.pipelines.pods.step_logs import StepLogs
    from llm.cluster.pipelines.run_state import RunState
    from llm.runs.folder import RunFolder

TAIL_LINES = 40
ACCESS = """Kubeflow Pipelines is looked for at cluster.kfp_uri=…, then KFP_ENDPOINT, then in the cluster of the
    kubeconfig. A token is taken from KFP_EXISTING_TOKEN, or from the file that KF_PIPELINES_SA_TOKEN_PATH names."""


def run_and_config(arguments: Sequence[str]) -> tuple[str | None, RunConfig]:
    """The run among `[RUN] [KEY=VALUE]...`, and the configuration that the rest makes."""
    names = [argument for argument in arguments if "=" not in argument]
    return only_name(names), compose([argument for argument in arguments if "=" in argument])


def say(line: str) -> None:
    """Progress, to stderr."""
    click.echo(line, err=True)


def summary(api: KfpApi, run: RunState) -> dict[str, Any]:
    """A run as a document."""
    return {
        "run": run.name,
        "id": run.id,
        "state": run.state,
        "seconds": run.seconds,
        "created": None if run.created is None else run.created.isoformat(),
        "service_account": run.service_account,
        "page": api.page(run.id),
        "steps": [{"name": node.name, "state": node.state, "seconds": node.seconds} for node in run.steps],
    }


def tell_the_end(api: KfpApi, run: RunState, logs: StepLogs, end: Outcome, as_json: bool) -> int:
    """Print how a run ended, with the failed step's log; returns the exit code of the command."""

    if end.log is not None:
        say(f"--- the end of {end.step}'s log ({end.log.source})")
        for line in end.log.tail(TAIL_LINES):
            say(line)
        say(f"--- all of it: gristmill logs {run.name} --step {end.step}")
    elif end.step is not None and end.has_begun and end.exit_code not in (0, 4):
        say(f"{end.step}'s log cannot be read from here: {logs.why_no_pods or 'its pod is gone, or never began'}")
        say(f"See it in Kubeflow Pipelines, {api.page(run.id)}, or where it keeps its executor-logs.")
    lines, came_of_it = _what_came_of(run)
    if as_json:
        document = {**summary(api, run), "exit_code": end.exit_code, "message": end.message, "failed_step": end.step}
        click.echo(json.dumps({**document, **came_of_it}, indent=1))
    else:
        click.echo("\n".join([*lines, f"run {run.name} {run.state} after {duration(run.seconds)}; {api.page(run.id)}"]))
    if end.message is not None:
        say(f"error: {end.message}")
    return end.exit_code


def folder_in_bucket(run: RunState) -> tuple[RunFolder, str] | None:
    """The folder of a run in its bucket, copied to here, and the bucket's folder of all runs; None if it has none.

    Raises UserError or ServiceError if it cannot be read from here.
    """
    from llm.cluster.pipelines.cancel import configuration_of
    from llm.runs.bucket import runs_to_read
    from llm.runs.folder import RunFolder, runs_of
    from llm.storage import is_s3

    config = configuration_of(run)
    if config is None or not is_s3(root := runs_of(config)):
        return None
    name = str(config.run.name)
    folder = RunFolder(runs_to_read(root, name) / name)
    return (folder, root) if folder.events.is_file() else None


def _what_came_of(run: RunState) -> tuple[list[str], dict[str, Any]]:
    """The last lines about a run, and the same for programs, from its folder in the bucket; nothing if it has none."""
    from llm.report.last_lines import last_lines, made

    try:
        if (found := folder_in_bucket(run)) is None:
            return [], {}
        folder, root = found
        report = f"{root}/{folder.name}/report.html"
        return last_lines(folder, report), {**made(folder), "report": report}
    except (UserError, ServiceError) as error:
        say(f"what came of it cannot be read from here: {error}")
        return [], {}
