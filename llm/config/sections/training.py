"""The training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm.config.decides import COURSE
from llm.config.sections.base import Beta, Fraction, NameInKubernetes, PositiveFloat, PositiveInt, Section, Seed


class TrainingConfig(Section):
    """How the model is trained."""

    backend: Literal["deepspeed", "torch"] = "deepspeed"
    """`deepspeed` (ZeRO) or `torch` (DDP)."""
    zero_stage: Annotated[int, Field(ge=0, le=2)] = 1
    """DeepSpeed's ZeRO stage: 0, 1 (optimizer states split over the ranks) or 2 (gradients too)."""
    pool: Annotated[NameInKubernetes | None, COURSE] = None
    """Pool of nodes (a TrainingRuntime of the platform chart) that trains; None: the machine that the step runs on."""
    nodes: PositiveInt = 1
    """Pods that train together; more than one needs a pool."""
    processes: PositiveInt = 2
    """Ranks on each node."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward pass; weights and optimizer states are float32."""
    sequence_length: PositiveInt = 256
    """Tokens in a training sequence; at most the model's context."""
    global_batch_tokens: PositiveInt = 8192
    """Tokens in one optimizer step over all ranks."""
    micro_batch_size: PositiveInt = 16
    """Sequences in one forward pass of one rank."""
    max_steps: PositiveInt | None = 200
    """Optimizer steps; None if `minutes` is given."""
    minutes: PositiveFloat | None = None
    """Length of the training in minutes instead of steps: the speed of the first steps fixes the number of steps."""
    lr: PositiveFloat = 3e-3
    """Peak learning rate."""
    min_lr_fraction: Fraction = 0.1
    """Learning rate at the end, as a share of the peak."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps in which the rate rises linearly."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """AdamW's decay of matrices; vectors are not decayed."""
    beta1: Beta = 0.9
    """AdamW's first beta."""
    beta2: Beta = 0.95
    """AdamW's second beta."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are clipped to this norm."""
    checkpoint_every_steps: Annotated[PositiveInt, COURSE] = 25
    """Steps between checkpoints."""
    keep_checkpoints: Annotated[int, Field(ge=2), COURSE] = 2
    """Complete checkpoints that are kept."""
    validate_every_steps: PositiveInt = 100
    """Steps between looks at the validation split."""
    seed: Seed = 1234
    """Seed of the initial weights and of the order of the data."""

    @property
    def world_size(self) -> int:
        """Ranks of all nodes."""
        return self.nodes * self.processes
