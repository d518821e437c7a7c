"""The steps of a run: one body each, behind the command and the KFP component."""

from llm.steps.bodies import STEPS, Context, Step
from llm.steps.run import figures, open_context, report_component, run_component, run_step

__all__ = ["STEPS", "Context", "Step", "figures", "open_context", "report_component", "run_component", "run_step"]
