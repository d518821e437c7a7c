"""The course of a training, as rank 0 tells it."""

from __future__ import annotations

from typing import Literal

from llm.runs.event_kinds.event import Event


class TrainPlan(Event):
    """The ranks are ready and the first step comes next."""

    kind: Literal["train_plan"] = "train_plan"
    steps: int
    """Steps of the whole training."""
    start: int = 0
    """Steps that are done already, as the checkpoint says."""
    tokens_per_step: int
    """Tokens of a step, over all ranks."""
    parameters: int
    """Parameters of the model."""
    world_size: int
    """Number of ranks."""
    backend: str
    """`training.parallel.backend.name`."""
    peak_flops: int | float | None = None
    """Floating-point operations per second that all ranks together were measured to reach."""
    flops_per_token: int | float | None = None
    """Floating-point operations of a token, forward and backward."""


class TrainStep(Event):
    """A step of the training is done."""

    kind: Literal["train_step"] = "train_step"
    step: int
    """Its number; the first is 1."""
    steps: int
    """Steps of the whole training."""
    tokens: int | None = None
    """Tokens trained on so far."""
    loss: float
    """Mean loss over the batch, in nats per token."""
    lr: float | None = None
    """Learning rate of this step."""
    grad_norm: float | None = None
    """Norm of the gradient before it was clipped."""
    tokens_per_second: float | None = None
    """Over all ranks."""
    mfu: float | None = None
    """Model FLOPs utilisation, as a fraction of the measured peak."""
    memory_bytes: int | None = None
    """Peak memory of all ranks together."""
    seconds_left: float | None = None
    """Time to the last step at this speed."""


class TrainValidation(Event):
    """The loss on the validation split was measured."""

    kind: Literal["train_validation"] = "train_validation"
    step: int
    """Steps done before it."""
    loss: float
    """In nats per token."""


class TrainResumed(Event):
    """The training continues from a checkpoint."""

    kind: Literal["train_resumed"] = "train_resumed"
    step: int
    """Steps that the checkpoint holds."""
    checkpoint: str | None = None
    """Name of the checkpoint."""


class CheckpointSaved(Event):
    """A checkpoint is complete in the store."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    step: int
    """Steps that it holds."""
    seconds: float | None = None
    """Time the training waited for it."""


class TrainingDiscarded(Event):
    """`--retrain` removed the finished training of a recipe."""

    kind: Literal["training_discarded"] = "training_discarded"
    recipe: str
    """Key of the recipe."""


class TrainingChanged(Event):
    """A training that was cut off goes on with another recipe: its result is not that of one recipe alone."""

    kind: Literal["training_changed"] = "training_changed"
    step: int
    """Steps that were done before."""
    changes: list[str]
    """The parts that changed, in words."""
