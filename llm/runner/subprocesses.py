"""Each step as a subprocess in the present environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm.config import RunConfig
from llm.process.environment import of_a_child
from llm.runs.folder import RunFolder


class Subprocesses:
    """Runs steps with this Python and its libraries."""

    name = "subprocess"

    def check(self, pipeline: Callable[..., Any], config: RunConfig) -> list[str]:
        """Nothing can be missing: the steps are where we are."""
        return []

    @contextmanager
    def ready(self, pipeline: Callable[..., Any], config: RunConfig, folder: RunFolder) -> Iterator[Any]:
        """KFP's runner, while `python3` means this interpreter, and the environment is that of a child."""
        from kfp import local

        with _environment_of_a_child(), _python3_is_this_one():
            yield local.SubprocessRunner(use_venv=False)

    def details(self) -> dict[str, Any]:
        """Nothing that the run's versions do not say."""
        return {}

    def processes(self) -> list[int]:
        """None but this process's own descendants."""
        return []


@contextmanager
def _environment_of_a_child() -> Iterator[None]:
    """KFP hands on this process's own environment, so it is changed for as long as steps run."""
    before = dict(os.environ)
    _set_environment(of_a_child())
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@contextmanager
def _python3_is_this_one() -> Iterator[None]:
    """Let `python3` mean this interpreter, by PATH and by name.

    KFP 2.17 replaces the text `python3` by sys.executable in a step's whole command, its parameters and paths too:
    `data.path=/usr/lib/python3.11` would arrive broken. With this name the replacement changes nothing.
    """
    executable, path = sys.executable, os.environ.get("PATH", os.defpath)
    sys.executable, os.environ["PATH"] = "python3", f"{Path(executable).parent}{os.pathsep}{path}"
    try:
        yield
    finally:
        sys.executable, os.environ["PATH"] = executable, path
