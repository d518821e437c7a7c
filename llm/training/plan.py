"""Documents that the parent hands to its workers, and that they leave for it, in JSON.

The plan and the facts that must hold for every attempt (`steps.json`) lie in the training's workspace, which all nodes
reach; the outcome of a node's workers lies in that node's own folder.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from llm.config import ModelConfig, TrainingConfig
from llm.storage import Manifest, Objects, open_objects, write_atomically
from llm.storage.products import TokenizerCounts

PLAN = "plan.json"
STEPS = "steps.json"
THREADS = "threads-"
"""Beginning of the names of files with the threads of a node's ranks."""
OUTCOME = "outcome.json"
OUTCOME_BYTES = 16_384


class TrainingPlan(BaseModel):
    """A training to be done by the ranks together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    training: TrainingConfig
    shards: Manifest
    tokenizer: Manifest
    start: Manifest | None = None
    """Checkpoint whose weights are the first ones; None: they are drawn."""
    end_of_text: int
    store: str
    """URI of the store that the checkpoint is published in."""
    workspace: str
    """URI of the training's place in the store: its checkpoints are here."""
    recipe: str
    """Key of the training's recipe."""
    events: str
    """Path of the run's event log on this machine."""

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary."""
        return TokenizerCounts.of(self.tokenizer).vocab_size

    @property
    def objects(self) -> Objects:
        """The training's workspace."""
        return open_objects(self.workspace)

    def write(self, folder: Path) -> None:
        """Put the plan into the folder of a node's workers."""
        write_atomically(folder / PLAN, self.document())

    def document(self) -> bytes:
        """The plan as it is written."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def read(cls, folder: Path) -> TrainingPlan:
        """The plan in the folder of a node's workers."""
        return cls.model_validate_json((folder / PLAN).read_bytes())

    def steps(self) -> int | None:
        """Optimizer steps of the whole training; None while the speed that decides them is not measured."""
        if self.training.length.steps is not None:
            return self.training.length.steps
        content = self.objects.read(STEPS)
        return None if content is None else int(json.loads(content))

    def fix_steps(self, steps: int) -> None:
        """Keep the number of steps that fit into `training.length.minutes`, so that a resume has the same plan."""
        self.objects.write(STEPS, json.dumps(steps).encode())


class Outcome(BaseModel):
    """The end of the workers; absent when one was killed or failed by our fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit_code: int
    """0: done; otherwise as in `llm.errors`."""
    message: str = ""
    at: float = Field(default_factory=time.time)
    """Seconds since 1970."""

    @staticmethod
    def reserve(folder: Path) -> None:
        """Take the room for an outcome now, so that a worker can say that the disk is full when it is."""
        write_atomically(folder / OUTCOME, b" " * OUTCOME_BYTES)

    def write(self, folder: Path) -> None:
        """Leave it for the parent, in the room that was reserved."""
        path = folder / OUTCOME
        text = self.model_copy(update={"message": self.message[: OUTCOME_BYTES // 8]}).model_dump_json()
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(text.encode().ljust(OUTCOME_BYTES))

    @classmethod
    def take(cls, folder: Path) -> Outcome | None:
        """Read and remove it; None if no worker left one."""
        path = folder / OUTCOME
        text = path.read_bytes().strip() if path.is_file() else b""
        path.unlink(missing_ok=True)
        return cls.model_validate_json(text) if text else None
