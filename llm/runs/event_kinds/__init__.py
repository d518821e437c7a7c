"""The kinds of event: one frozen model each, by the part of a run that they tell about.

A new kind is a model in one of these modules (or anywhere that is imported before the log is read): `EVENT_KINDS`
finds it by its `kind`. A field that is added to a kind later needs a default, so that logs from before still read.
"""

from llm.runs.event_kinds.cluster import TrainJobBegun, TrainStarted
from llm.runs.event_kinds.event import EVENT_KINDS, Event, UnknownEvent
from llm.runs.event_kinds.news import Judged, MetricMeasured, Progress, Warned
from llm.runs.event_kinds.queue import Admitted, Evicted, Queued
from llm.runs.event_kinds.run import RunFinished, RunStarted, StopRequested, Versions
from llm.runs.event_kinds.step import StepExplained, StepFailed, StepFinished, StepStarted
from llm.runs.event_kinds.training import (
    BudgetSpent,
    CheckpointSaved,
    RankSlow,
    RolledBack,
    StartsFrom,
    TrainingChanged,
    TrainingDiscarded,
    TrainingDiverged,
    TrainingHangs,
    TrainPlan,
    TrainResumed,
    TrainStep,
    TrainValidation,
    UpdateSkipped,
)
from llm.runs.event_kinds.usage import PodRuns, PodUsed, Usage

__all__ = [
    "EVENT_KINDS",
    "Admitted",
    "BudgetSpent",
    "CheckpointSaved",
    "Event",
    "Evicted",
    "Judged",
    "MetricMeasured",
    "PodRuns",
    "PodUsed",
    "Progress",
    "Queued",
    "RankSlow",
    "RolledBack",
    "RunFinished",
    "RunStarted",
    "StartsFrom",
    "StepExplained",
    "StepFailed",
    "StepFinished",
    "StepStarted",
    "StopRequested",
    "TrainJobBegun",
    "TrainPlan",
    "TrainResumed",
    "TrainStarted",
    "TrainStep",
    "TrainValidation",
    "TrainingChanged",
    "TrainingDiscarded",
    "TrainingDiverged",
    "TrainingHangs",
    "UnknownEvent",
    "UpdateSkipped",
    "Usage",
    "Versions",
    "Warned",
]
