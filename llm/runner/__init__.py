"""Running a whole pipeline on this machine."""

from llm.runner.containers import Containers
from llm.runner.local import RunOutcome, StepRunner, run_locally
from llm.runner.subprocesses import Subprocesses

__all__ = ["Containers", "RunOutcome", "StepRunner", "Subprocesses", "run_locally"]
