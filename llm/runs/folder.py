"""The folder of a run.

    <runs>/<name>/config.yaml            the resolved configuration
    <runs>/<name>/events.jsonl           what happened, by every attempt at this run
    <runs>/<name>/manifests/<step>.json  what each step made
    <runs>/<name>/report.html            all of it for a reader
    <runs>/<name>/tracking/              how far MLflow has been told

The name comes from the pipeline and the configuration, so the same command goes on in the same folder.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from llm.config import RunConfig, from_earlier_yaml
from llm.storage import Manifest, cache_folder, is_s3, sha256_of_json, write_atomically

NOT_IN_THE_NAME = {"cluster", "run", "tracking"}
"""Sections that say where a run is kept and told about, not what it does."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; nothing is made before it is written."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._absolute.name

    @property
    def runs(self) -> Path:
        """Folder of all runs, this one's parent."""
        return self._absolute.parent

    @property
    def _absolute(self) -> Path:
        """Without `..`, but not through links: the runs are where the configuration says."""
        return Path(os.path.abspath(self.path))

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def tracking(self) -> Path:
        """What was delivered to MLflow so far."""
        return self.path / "tracking"

    def manifest_path(self, step: str) -> Path:
        """Where a step leaves its manifest."""
        return self.path / "manifests" / f"{step}.json"

    def manifests(self) -> dict[str, Manifest]:
        """The manifests that are there, by step; raises DamagedError for a file that is not one."""
        return {path.stem: Manifest.read(path) for path in sorted((self.path / "manifests").glob("*.json"))}

    def write_config(self, document: str) -> None:
        """Keep the resolved configuration, for its owner only: the address of a server may hold a password."""
        write_atomically(self.config, document, mode=0o600)

    def read_config(self) -> RunConfig | None:
        """The configuration of the latest attempt; None if there is none. Raises UserError if it is not valid."""
        return from_earlier_yaml(self.config.read_text(encoding="utf-8")) if self.config.is_file() else None

    def is_held(self) -> bool:
        """Whether a process works in this folder now (`llm.storage.only_process_in`)."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)


def run_folder(folder: str, name: str) -> RunFolder:
    """The folder of a run on this machine; that of a run in S3 is this machine's copy (`llm.runs.mirror`)."""
    return RunFolder((cache_folder() / "runs" if is_s3(folder) else Path(folder)) / name)


def run_name(pipeline: str, config: RunConfig) -> str:
    """Name of the run that this pipeline and configuration make, such as `pretrain-3f9a61c2`."""
    return f"{pipeline}-{sha256_of_json(config.model_dump(mode='json', exclude=NOT_IN_THE_NAME))[:8]}"


def all_runs(root: Path) -> list[RunFolder]:
    """Every run below `root`, the one with the newest event first."""
    found = [RunFolder(path.parent) for path in root.glob("*/events.jsonl")]
    return sorted(found, key=lambda folder: folder.events.stat().st_mtime_ns, reverse=True)
