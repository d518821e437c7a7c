"""What the parent hands to its workers, and what they leave for it: small JSON documents in the training's folder."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from llm.config import ModelConfig, TrainingConfig
from llm.storage import Manifest, write_atomically

PLAN = "plan.json"
STEPS = "steps.json"
OUTCOME = "outcome.json"
OUTCOME_BYTES = 16_384


class TrainingPlan(BaseModel):
    """A training to be done by the ranks together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    training: TrainingConfig
    shards: Manifest
    vocab_size: int
    end_of_text: int
    events: str
    """Path of the run's event log."""

    def write(self, folder: Path) -> None:
        """Put the plan into a training's folder."""
        write_atomically(folder / PLAN, self.model_dump_json(indent=1))

    @classmethod
    def read(cls, folder: Path) -> TrainingPlan:
        """The plan in a training's folder."""
        return cls.model_validate_json((folder / PLAN).read_bytes())

    def steps(self, folder: Path) -> int | None:
        """Optimizer steps of the whole training; None while the speed that decides them is not measured."""
        if self.training.max_steps is not None:
            return self.training.max_steps
        path = folder / STEPS
        return int(json.loads(path.read_text())) if path.is_file() else None


def fix_steps(folder: Path, steps: int) -> None:
    """Keep the number of steps that fit into `training.minutes`, so that a resume has the same plan."""
    write_atomically(folder / STEPS, json.dumps(steps))


class Outcome(BaseModel):
    """How the workers ended; absent when one was killed or failed by our fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit_code: int
    """0: done; otherwise as in `llm.errors`."""
    message: str = ""

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
