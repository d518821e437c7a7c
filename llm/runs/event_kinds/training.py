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


class StartsFrom(Event):
    """The training starts from the weights of a checkpoint (`training.start_from`)."""

    kind: Literal["starts_from"] = "starts_from"
    checkpoint: str
    """Id of the checkpoint."""
    kept: int
    """Entries of the vocabulary whose row is that of the same token there."""
    of_parts: int
    """Entries whose row is the mean of the rows of the token's parts."""
    of_all: int
    """Entries whose row is the mean of all rows."""


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
    skipped: bool | None = None
    """True if nothing was updated: a gradient was too large for fp16, or the step was a spike (`update_skipped`)."""
    tokens_per_second: float | None = None
    """Over all ranks."""
    mfu: float | None = None
    """Model FLOPs utilisation, as a fraction of the measured peak."""
    memory_bytes: int | None = None
    """Peak memory of all ranks together."""
    seconds_left: float | None = None
    """Time to the last step at this speed."""
    device_seconds: float | None = None
    """Time of all ranks, over all attempts at the training."""
    cost: float | None = None
    """That time at `training.budget.price`; null without a price."""
    data_seconds: float | None = None
    """Time that the first rank waited for its batch."""
    checkpoint_seconds: float | None = None
    """Time that the first rank waited for a checkpoint after the step before; null: there was none."""
    rates: list[float] | None = None
    """Learning rate of each group of parameters, where they differ (`training.optimizer.groups`, `layer_decay`)."""
    loss_scale: float | None = None
    """Factor of the loss in the next step; null if the precision is not fp16."""


class TrainValidation(Event):
    """The loss on the validation split was measured."""

    kind: Literal["train_validation"] = "train_validation"
    step: int
    """Steps done before it."""
    loss: float
    """In nats per token."""
    bits_per_byte: float | None = None
    """The loss in bits for each byte of the text; null if the tokenizer does not say the bytes of its tokens."""


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
    """Time until it was complete; the training went on meanwhile."""


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


class UpdateSkipped(Event):
    """A step was a spike, and its update was skipped (`training.guards.spike_deviations`)."""

    kind: Literal["update_skipped"] = "update_skipped"
    step: int
    """Number of the step."""
    loss: float
    """Its loss, in nats per token."""
    loss_limit: float
    """Loss from which it is a spike."""
    grad_norm: float
    """Norm of its gradient."""
    grad_norm_limit: float
    """Norm from which it is a spike."""
    in_a_row: int
    """Spikes one after another, this one included."""


class RolledBack(Event):
    """After spikes the training goes on from an earlier step, with the batches after them."""

    kind: Literal["rolled_back"] = "rolled_back"
    step: int
    """Steps that were done; the last of them was a spike."""
    to: int
    """Steps that are done where it goes on."""
    batch: int
    """Number of the batch (from 0) that it goes on with."""
    number: int
    """Rollbacks of the training, this one included."""


class BudgetSpent(Event):
    """The training has taken as much as it may (`training.budget`), and ends with a checkpoint."""

    kind: Literal["budget_spent"] = "budget_spent"
    step: int
    """Steps that are done."""
    device_seconds: float
    """Time of all ranks, over all attempts."""
    cost: float | None = None
    """That time at `training.budget.price`; null without a price."""
    caps: list[str]
    """The caps that are reached, as settings."""


class TrainingDiverged(Event):
    """A loss or a gradient norm is no number, and the training ends."""

    kind: Literal["training_diverged"] = "training_diverged"
    step: int
    """Number of the step."""
    what: str
    """`loss` or `gradient norm`."""
    value: float
    """NaN or infinite."""
    ranks: list[int]
    """Ranks whose own loss is no number; empty if only the gradient is none."""
    windows: list[int]
    """Windows of the train split in the batch of those ranks, or of all."""
    documents: list[int]
    """Documents of those windows, by their places in the shards."""
    domains: list[str]
    """Domains of those documents."""


class RankSlow(Event):
    """A rank's device is slower than those of the others (`training.guards.slow_rank_factor`)."""

    kind: Literal["rank_slow"] = "rank_slow"
    step: int
    """Steps that are done."""
    rank: int
    """Its number."""
    host: str
    """Name of its node, as the node itself has it."""
    seconds: float
    """Time that it took for a product of matrices."""
    usual_seconds: float
    """Median of the other ranks."""


class TrainingHangs(Event):
    """No step came for long (`training.guards.hang_seconds`): the stacks of the ranks are in the log of the workers."""

    kind: Literal["training_hangs"] = "training_hangs"
    step: int
    """Steps that are done."""
    seconds: float
    """Time since the last step."""
    silent: list[str]
    """The ranks of this machine that did not answer, and why; empty if all of them answered."""
    log: str
    """Path of the log with the stacks."""
