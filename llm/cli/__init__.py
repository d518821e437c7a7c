"""The command line: one file a verb, loaded when it is used, so that `gristmill --help` answers at once.

Results go to stdout, progress and errors to stderr; a user's mistake prints a message and never a traceback.
Exit codes: see `llm.errors`.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import click

from llm import __version__
from llm.errors import EXIT_FAULT, GristmillError, UserError
from llm.process.home import ensure_home
from llm.steps import STEPS

VERBS = {
    "run": ("llm.cli.run", "Run a whole pipeline on this machine."),
    "compile": ("llm.cli.cluster.compile", "Compile a pipeline to a package for Kubeflow Pipelines."),
    "submit": ("llm.cli.cluster.submit", "Run a whole pipeline on a cluster."),
    "status": ("llm.cli.cluster.status", "Print the state of the runs on a cluster."),
    "logs": ("llm.cli.cluster.logs", "Print what the steps of a run on a cluster print."),
    "cancel": ("llm.cli.cluster.cancel", "End a run on a cluster, and its training."),
    "runs": ("llm.cli.runs.listing", "List the runs and how they ended."),
    "report": ("llm.cli.runs.report", "Print the path of a run's report, or open it."),
    "costs": (
        "llm.cli.runs.costs",
        "Print the processors, memory and accelerators that runs took, and their cost.",
    ),
    "trainings": ("llm.cli.runs.trainings", "List the trainings that are not at their end, or remove one."),
    "generate": ("llm.cli.generate", "Continue a text with a trained model."),
    "serve": ("llm.cli.serve", "Serve the champion with Triton."),
    "fetch": ("llm.cli.fetch", "Fetch a served model out of the store into a folder, checked."),
    "rollback": ("llm.cli.rollback", "Make the previous champion the champion again."),
    "adopt": ("llm.cli.adopt", "Bring a model, a tokenizer or text that others made into the store."),
    "plan": ("llm.cli.planning.plan", "Print the size, the memory and the length of a training before it starts."),
    "rehearse": (
        "llm.cli.planning.rehearse",
        "Do a step of a training of any size without its machines: shapes, memory, traffic.",
    ),
    "doctor": ("llm.cli.doctor", "Check this machine: libraries, processors, disk, Triton."),
    "config": ("llm.cli.config", "Print the resolved configuration."),
}
STEP_MODULE = "llm.cli.step"


class LazyGroup(click.Group):
    """A group whose commands are imported when they are invoked; their help lines are in the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, whole runs first, then the steps in the order of the path."""
        return [*VERBS, *STEPS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, imported now; None if there is none of that name."""
        if name in VERBS:
            command: click.Command = importlib.import_module(VERBS[name][0]).command
            return command
        if name in STEPS:
            step: click.Command = importlib.import_module(STEP_MODULE).command_for(name)
            return step
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])
        with formatter.section("Steps, one at a time (gristmill STEP --help)"):
            formatter.write_text(" → ".join(STEPS))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gristmill")
def cli() -> None:
    """Raw text to a served language model, every seam checked."""


def main() -> None:
    """Run the command line; the process ends with the exit code of `llm.errors`."""
    ensure_home()
    _print_what_the_terminal_cannot_show()
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except GristmillError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _say("stopped")
        sys.exit(130)
    except OSError as error:
        if (plain := _in_plain_words(error)) is None:
            _fault(error)
        _say(f"error: {plain}")
        sys.exit(UserError.exit_code)
    except Exception as error:  # noqa: BLE001 - the outermost edge: a fault of ours keeps its traceback and exit code
        _fault(error)


def _in_plain_words(error: OSError) -> UserError | None:
    """The error of a file, a disk or the working folder that the user can repair; None for any other."""
    from llm.storage import disk_full, is_disk_full, is_no_path, no_path, not_allowed

    try:
        here = Path.cwd()
    except FileNotFoundError:
        return UserError("the current folder was removed", "Change to a folder that is there, and run again.")
    if is_disk_full(error):
        return disk_full(here, error)
    if isinstance(error, PermissionError):
        return not_allowed(error, here)
    return no_path(error) if is_no_path(error) else None


def _print_what_the_terminal_cannot_show() -> None:
    """Let a character without a code in the output's encoding be printed as `?`, where it would end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _fault(error: Exception) -> NoReturn:
    """End as a fault of ours, unless a module that a setting names led to it."""
    from llm.config import mistake_in_named

    if (mistake := mistake_in_named(error)) is not None:
        _say(f"error: {mistake}")
        sys.exit(mistake.exit_code)
    with suppress(OSError):
        traceback.print_exc()
    _say("error: this is a fault of Gristmill's, not yours; please report it with the lines above")
    sys.exit(EXIT_FAULT)


def _say(text: str) -> None:
    """Print it, if somebody is there to read it: the exit code stays the same when the terminal has gone."""
    with suppress(OSError):
        click.echo(text, err=True)
