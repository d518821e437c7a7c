"""Running a whole pipeline on this machine."""

from llm.runner.local import RunOutcome, run_locally

__all__ = ["RunOutcome", "run_locally"]
