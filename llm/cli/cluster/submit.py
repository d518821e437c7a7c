"""`gristmill submit PIPELINE`: a whole pipeline on a cluster."""

from __future__ import annotations

import json
import select
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from llm.cli.cluster.shared import ACCESS, say, summary, tell_the_end
from llm.cli.cluster.trainings import end_training
from llm.cli.options import overrides
from llm.cli.run import load_pipeline
from llm.config import compose
from llm.errors import ServiceError

if TYPE_CHECKING:
    from llm.cluster.api import Api
    from llm.cluster.pipelines.submit import Choice
    from llm.config import RunConfig
    from llm.process.interrupts import Interrupted

INTERRUPTED = 130


@click.command(
    "submit",
    help=f"""Run PIPELINE (pretrain) on a cluster, and wait for its end.

    The exit code is the run's: 0 done, 4 the gate did not pass, 75 cancelled, else that of the failed step, whose log
    is printed. A step whose image cannot be pulled, or whose Secret is missing, ends the run with 2. Ctrl-C asks
    whether to cancel the run or to leave it; without a terminal it cancels, as SIGTERM does.

    {ACCESS}""",
)
@click.argument("pipeline")
@overrides
@click.option("--wait/--no-wait", "waits", default=True, help="Wait for the run's end, or only start it.")
@click.option("--cancel-on-interrupt", is_flag=True, help="Let Ctrl-C cancel the run without a question.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(pipeline: str, overrides: tuple[str, ...], waits: bool, cancel_on_interrupt: bool, as_json: bool) -> int:
    """Submit, wait, and say how it ended."""
    config = compose(overrides, here=False)
    function = load_pipeline(pipeline, config)
    from llm.cluster.pipelines.kfp_client import connect
    from llm.cluster.pipelines.outcome import outcome
    from llm.cluster.pipelines.package import for_a_cluster
    from llm.cluster.pipelines.pods.preflight import pod_preflight
    from llm.cluster.pipelines.pods.step_logs import StepLogs
    from llm.cluster.pipelines.submit import StoppedWaiting, Waiter, start, wait_to_the_end
    from llm.cluster.pipelines.wait import Limits, RunPrinter
    from llm.cluster.queues.queue_preflight import check_step_queues
    from llm.cluster.refusal import Refused, Unreachable
    from llm.cluster.trainjobs.pool_preflight import check_pool_and_queue
    from llm.images import unbuilt_warnings
    from llm.process.interrupts import Interrupted, Interrupts

    config = for_a_cluster(pipeline, config)
    for warning in [*pod_preflight(config), *unbuilt_warnings(config.training.compute.device)]:
        say(f"warning: {warning}")

    def check_places(there: Api, config: RunConfig) -> None:
        training = [] if config.training.pool is None else check_pool_and_queue(there, config.training, config.cluster)
        for warning in [*training, *check_step_queues(there, config.pods)]:
            say(f"warning: {warning}")

    api = connect(config.cluster)
    logs, run = StepLogs(api, config.cluster), None
    try:
        with Interrupts() as interrupts:
            with interrupts.held():
                run = start(api, function, config, logs, interrupts, check_places)
                say(f"submitted run {run.name}, id {run.id}; {api.page(run.id)}")
            if not waits:
                click.echo(json.dumps(summary(api, run), indent=1) if as_json else f"run {run.name} {run.id}")
                say(f"next: gristmill status {run.name} --wait")
                return 0
            end = partial(end_training, str(config.run.name), config.cluster, say)
            waiter = Waiter(api, logs, RunPrinter(say), interrupts, Limits(), end)
            run, cause = wait_to_the_end(waiter, run, config, lambda by: _choice(by, cancel_on_interrupt))
    except (Interrupted, StoppedWaiting) as stopped:
        if run is None:
            say("stopped; nothing was submitted")
        else:
            words = stopped if isinstance(stopped, StoppedWaiting) else "the run goes on"
            say(f"{words}: gristmill status {run.name} --wait | gristmill cancel {run.name}")
        return INTERRUPTED
    except (Refused, Unreachable) as error:
        if run is None:
            raise
        hint = f"The run continues without this command: gristmill status {run.name} --wait"
        raise ServiceError(str(error), hint) from error
    return tell_the_end(api, run, logs, outcome(run, logs, cause), as_json)


def _choice(interrupted: Interrupted, cancel_on_interrupt: bool) -> Choice:
    """A question on a terminal, else the run's end; a terminal that is gone leaves the run."""
    from llm.cluster.pipelines.submit import Choice

    if interrupted.by_hangup and not cancel_on_interrupt:
        return Choice.LEAVE
    asks = interrupted.by_keyboard and not cancel_on_interrupt and sys.stdin.isatty() and sys.stderr.isatty()
    if not asks:
        return Choice.CANCEL
    say("\nthe run goes on in the cluster")
    choices = {"c": Choice.CANCEL, "l": Choice.LEAVE, "w": Choice.WAIT, "": Choice.WAIT}
    while True:
        click.echo("[c]ancel it, [l]eave it running, or [w]ait on? (Ctrl-C cancels) [w]: ", nl=False, err=True)
        line = _typed_line()
        if line is None:
            return Choice.LEAVE
        if (choice := choices.get(line.strip())) is not None:
            return choice
        say(f"{line.strip()!r} is none of c, l, w")


def _typed_line() -> str | None:
    """A line from the terminal; None if the terminal is gone.

    A Ctrl-C that comes just before a read blocks is seen only after it, so the read waits until there is a line.
    """
    try:
        while not select.select([sys.stdin], [], [], 0.2)[0]:
            continue
        return sys.stdin.readline() or None
    except OSError:
        return None
