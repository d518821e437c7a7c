"""Run folders: where a run leaves its things, and what they say about it."""

from llm.runs.attempt import Attempt, StepOutcome, last_attempt
from llm.runs.folder import RunFolder, all_runs, run_name
from llm.runs.listing import RunSummary, list_runs

__all__ = ["Attempt", "RunFolder", "RunSummary", "StepOutcome", "all_runs", "last_attempt", "list_runs", "run_name"]
