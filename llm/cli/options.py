"""Options of several commands: overrides of the configuration, and a run to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from llm.errors import UserError
from llm.runs.folder import RunFolder, all_runs
from llm.storage import folder_of

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

overrides: Decorator = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
"""Overrides of the configuration, as in `model=small training.optimizer.lr=1e-3`."""


def runs_folder() -> Decorator:
    """`--runs FOLDER`: where the runs are."""
    return click.option("--runs", "root", default="runs", show_default=True, help="Folder of all runs.")


def chosen_run(root: str, name: str | None, having: str | None = None) -> RunFolder:
    """The named run, or the latest in which the step `having` was done; raises UserError if there is none."""
    if name is None:
        found = next((run for run in all_runs(folder_of(root)) if _has(run, having)), None)
        if found is None:
            what = f"with a finished {having} step " if having else ""
            raise UserError(f"there is no run {what}in {root}", "Make one with `gristmill run pretrain`.")
        return found
    check_name(name)
    folder = RunFolder(folder_of(root) / name)
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
