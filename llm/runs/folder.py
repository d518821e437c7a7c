"""The folder of a run.

    <runs>/<name>/config.yaml            the resolved configuration
    <runs>/<name>/events.jsonl           what happened, by every attempt at this run
    <runs>/<name>/manifests/<step>.json  what each step made
    <runs>/<name>/recipes/<step>-<recipe>.json  what each recipe was made of: a rerun says what changed since
    <runs>/<name>/report.html            all of it for a reader
    <runs>/<name>/tracking/              how far MLflow has been told

The name comes from the pipeline and the configuration, so the same command goes on in the same folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llm.config import Decides, RunConfig, deciding, from_earlier_yaml
from llm.errors import UserError
from llm.storage import Manifest, cache_folder, folder_of, is_held, is_s3, sha256_of_json, write_atomically


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
    def project(self) -> Path:
        """Folder of the project."""
        return project_folder(self.runs)

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
        """The records of what was delivered to MLflow so far."""
        return self.path / "tracking"

    def manifest_path(self, step: str) -> Path:
        """The path of a step's manifest."""
        return self.path / "manifests" / f"{step}.json"

    def keep(self, step: str, manifest: Manifest) -> None:
        """Keep the manifest of a step's product, and the place of its store."""
        manifest.write(self.manifest_path(step), project=self.project)

    def manifest(self, step: str, *stores: str) -> Manifest:
        """The manifest of a step's product; its product is looked for in `stores`, then where it was made.

        A manifest of an earlier version does not say where its store is: the run's configuration does.

        Raises UserError if there is none, DamagedError for a file that is not one.
        """
        return Manifest.read(self.manifest_path(step), *stores, project=self.project, store=self._store)

    def manifests(self) -> dict[str, Manifest]:
        """The manifests that are there, by step; raises DamagedError for a file that is not one."""
        return {path.stem: self.manifest(path.stem) for path in sorted((self.path / "manifests").glob("*.json"))}

    def write_config(self, document: str) -> None:
        """Keep the resolved configuration, for its owner only: the address of a server may hold a password."""
        write_atomically(self.config, document, mode=0o600)

    def read_config(self) -> RunConfig | None:
        """The configuration of the latest attempt; None if there is none. Raises UserError if it is not valid."""
        return from_earlier_yaml(self.config.read_text(encoding="utf-8")) if self.config.is_file() else None

    def _store(self) -> str | None:
        """URI of the store that the configuration names, seen from the project; None if nothing usable names one."""
        try:
            config = self.read_config()
            if config is None or is_s3(config.storage.uri):
                return None if config is None else config.storage.uri
            return (self.project / folder_of(config.storage.uri)).resolve().as_uri()
        except (UserError, OSError, ValueError):  # damaged, or another user's
            return None

    def is_held(self) -> bool:
        """Whether a process works in this folder now (`llm.storage.only_process_in`)."""
        return is_held(self.path)


def runs_folder(folder: str) -> Path:
    """The folder of all runs on this machine; for runs in S3, that of this machine's copies (`llm.runs.mirror`)."""
    return cache_folder() / "runs" if is_s3(folder) else folder_of(folder)


def runs_of(config: RunConfig) -> str:
    """The folder of the runs that a configuration makes as pods: the one in S3 that it names, else its store's."""
    if is_s3(config.storage.uri) and not is_s3(config.run.folder):
        return f"{config.storage.uri.rstrip('/')}/runs"
    return config.run.folder


def project_folder(runs: Path) -> Path:
    """The folder that holds the folder of all runs, not through links: relative addresses begin there."""
    return Path(os.path.abspath(runs)).parent


def run_folder(folder: str, name: str) -> RunFolder:
    """The folder of a run on this machine."""
    return RunFolder(runs_folder(folder) / name)


def run_name(pipeline: str, config: RunConfig) -> str:
    """Name of the run that this pipeline and configuration make, such as `pretrain-3f9a61c2`.

    Only settings that decide the result or choose the input take part: another port is no other run.
    """
    return f"{pipeline}-{sha256_of_json(deciding(config, Decides.RESULT, Decides.INPUT))[:8]}"


def all_runs(root: Path) -> list[RunFolder]:
    """Every run below `root`, the one with the newest event first."""
    found = [RunFolder(path.parent) for path in root.glob("*/events.jsonl") if path.is_file()]
    return sorted(found, key=lambda folder: folder.events.stat().st_mtime_ns, reverse=True)
