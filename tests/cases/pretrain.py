"""A whole run of the path at a small size, and what its tests look at."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from llm.runs.event_kinds import TrainStep
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder

STEPS_OF_TRAINING = 12
SMALL = [
    "data.domain=code",
    "tokenizer.vocab_size=512",
    "model.hidden_size=64",
    "model.intermediate_size=128",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.max_position_embeddings=128",
    "training.batch.sequence_length=64",
    "training.batch.tokens=1024",
    "training.batch.micro_batch_size=8",
    f"training.length.steps={STEPS_OF_TRAINING}",
    "training.checkpoints.every_steps=3",
    "evaluation.max_bytes_per_domain=20000",
    "evaluation.max_bytes_per_document=2000",
    "evaluation.prompts=[def]",
    "gate.metrics.bits_per_byte.floor=9",
    "export.onnx=[fp32]",
]
PATIENCE_SECONDS = 300
Run = tuple[subprocess.CompletedProcess[str], RunFolder]


@dataclass(frozen=True)
class Place:
    """A folder with a store and runs, and the texts that its runs read."""

    folder: Path
    texts: Path

    def command(self, *arguments: str) -> list[str]:
        """The command of a run here; options and KEY=VALUE may be added."""
        places = [
            f"data.path={self.texts}",
            f"storage.uri={self.folder / 'store'}",
            f"run.folder={self.folder / 'runs'}",
        ]
        script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
        return [sys.executable, "-c", script, "run", "pretrain", *SMALL, *places, *arguments]

    def run(self, *arguments: str) -> Run:
        """Run it to its end."""
        ended = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        newest = max(self.folder.glob("runs/*/events.jsonl"), key=lambda path: path.stat().st_mtime)
        return ended, RunFolder(newest.parent)

    @property
    def only_run(self) -> RunFolder:
        """The folder of the only run here."""
        (run,) = self.folder.glob("runs/pretrain-*")
        return RunFolder(run)

    def steps_trained(self) -> list[int]:
        """Steps that the only run has logged so far; none before its log is there."""
        logs = self.folder.glob("runs/*/events.jsonl")
        return [event.step for path in logs for event in EventLog(path).of_kind(TrainStep)]

    def wait_for_a_step(self, process: subprocess.Popen[str]) -> list[int]:
        """Wait until the run trains; gives the steps that it has done."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (steps := self.steps_trained()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return steps
