"""Options of several commands: overrides of the configuration, and a run to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from llm.errors import UserError
from llm.runs.bucket import runs_to_read
from llm.runs.folder import RunFolder, all_runs

RUNS = "runs"
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

overrides: Decorator = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
"""Overrides of the configuration, as in `model=small training.optimizer.lr=1e-3`."""


def runs_folder() -> Decorator:
    """`--runs FOLDER`: where the runs are."""
    return click.option(
        "--runs", "root", default=None, metavar="FOLDER",
        help="Folder of all runs, or s3://BUCKET/PREFIX/runs. Default: runs, or that of the store in KEY=VALUE.",
    )  # fmt: skip


def names_and_root(arguments: Sequence[str], root: str | None) -> tuple[list[str], str]:
    """The names among `[NAME]... [KEY=VALUE]...`, and the folder of all runs that `--runs` or the rest names."""
    names = [argument for argument in arguments if "=" not in argument]
    if root is not None or len(names) == len(arguments):
        return names, root or RUNS
    from llm.config import compose
    from llm.runs.folder import runs_of

    return names, runs_of(compose([argument for argument in arguments if "=" in argument]))


def only_name(names: Sequence[str], otherwise: str = "") -> str | None:
    """The one name, or None; raises UserError for two."""
    if len(names) > 1:
        raise UserError(f"{' and '.join(names)} are two runs", f"Name one{otherwise}.")
    return names[0] if names else None


def chosen_run(root: str, name: str | None, having: str | None = None) -> RunFolder:
    """The named run, or the latest in which the step `having` was done; raises UserError if there is none.

    A run in a bucket is copied to this machine first.
    """
    if name is None:
        found = next((run for run in all_runs(runs_to_read(root)) if _has(run, having)), None)
        if found is None:
            what = f"with a finished {having} step " if having else ""
            raise UserError(f"there is no run {what}in {root}", "Make one with `gristmill run pretrain`.")
        return found
    check_name(name)
    folder = RunFolder(runs_to_read(root, name) / name)
    if not folder.events.is_file():
        raise UserError(f"there is no run {name} in {root}", "`gristmill runs` lists them.")
    if not _has(folder, having):
        raise UserError(
            f"run {name} has not finished its {having} step", "Wait for its end, or choose another with --run."
        )
    return folder


def check_name(name: str) -> None:
    """Raise UserError for a text that cannot be the name of a run."""
    if not name or name.startswith(".") or "/" in name:
        raise UserError(f"{name!r} is not the name of a run", "`gristmill runs` lists them; --runs names their folder.")


def _has(run: RunFolder, step: str | None) -> bool:
    return step is None or run.manifest_path(step).is_file()
