"""The folder of a run, and its name.

    runs/<name>/  config.yaml  events.jsonl  report.html  manifests/<step>.json  pipeline.log

The name follows from the pipeline and the configuration, so the same command goes on in the same folder.
"""

from __future__ import annotations

from pathlib import Path

from llm.config import RunConfig
from llm.storage import Manifest, sha256_of_json, write_atomically

NOT_IN_THE_NAME = {"run", "tracking", "serving"}
"""Sections that say where a run is kept and shown, not what it makes."""


class RunFolder:
    """Paths of a run's things; nothing is made before it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

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

    def manifest_path(self, step: str) -> Path:
        """Where a step's manifest is, or will be."""
        return self.path / "manifests" / f"{step}.json"

    def manifests(self) -> dict[str, Manifest]:
        """All manifests that are there, by step."""
        return {path.stem: Manifest.read(path) for path in sorted((self.path / "manifests").glob("*.json"))}

    def write_config(self, document: str) -> None:
        """Keep the resolved configuration."""
        write_atomically(self.config, document)


def run_name(pipeline: str, config: RunConfig) -> str:
    """`<pipeline>-<hash of the configuration>`: equal for equal commands."""
    return f"{pipeline}-{sha256_of_json(config.model_dump(mode='json', exclude=NOT_IN_THE_NAME))[:8]}"


def latest(root: Path) -> RunFolder | None:
    """The run with the newest events; None if there is none."""
    events = sorted(root.glob("*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    return RunFolder(events[-1].parent) if events else None
