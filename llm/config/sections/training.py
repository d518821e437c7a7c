"""The training: what is trained on, how long, how, where, and what is kept."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny

from llm.config.decides import COURSE
from llm.config.named import NamedSection, chosen_by_default
from llm.config.sections.base import Fraction, NameInKubernetes, PositiveFloat, PositiveInt, Section, Seed


class BatchConfig(Section):
    """The tokens of one optimizer step."""

    tokens: PositiveInt = 8192
    """Tokens in one optimizer step over all ranks."""
    sequence_length: PositiveInt = 256
    """Tokens in a training sequence; at most the model's context."""
    micro_batch_size: PositiveInt = 16
    """Sequences in one forward pass of one rank."""


class LengthConfig(Section):
    """How long the training is: exactly one of the two."""

    steps: PositiveInt | None = 200
    """Optimizer steps; None if `minutes` is given."""
    minutes: PositiveFloat | None = None
    """Minutes in place of steps: the speed of the first steps fixes the number of steps."""


class OptimizerConfig(NamedSection):
    """The optimizer (`docs/extend/optimizer.md`)."""

    home: ClassVar[str] = "llm.training.optimizer"
    key: ClassVar[str] = "training.optimizer"
    default: ClassVar[str] = "adamw"

    lr: PositiveFloat = 3e-3
    """Peak learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are clipped to this norm."""

    def build(self, model: Any) -> Any:
        """The `torch.optim.Optimizer` of a `torch.nn.Module`, with the same order of parameters on every rank."""
        raise NotImplementedError


class ScheduleConfig(NamedSection):
    """The learning rate over the steps (`docs/extend/schedule.md`)."""

    home: ClassVar[str] = "llm.training.schedule"
    key: ClassVar[str] = "training.schedule"
    default: ClassVar[str] = "cosine"

    warmup_fraction: Fraction = 0.05
    """Share of the steps in which the rate rises linearly."""

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        """Learning rate of a step after the warm-up: `step` counts from its end, and `steps` are those that remain."""
        raise NotImplementedError


class ComputeConfig(Section):
    """How the forward and backward passes are computed."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward pass; weights and optimizer states are float32."""


class BackendConfig(NamedSection):
    """The part that shares gradients and optimizer states between the ranks."""

    home: ClassVar[str] = "llm.training.backend"
    key: ClassVar[str] = "training.parallel.backend"
    default: ClassVar[str] = "deepspeed"

    def build(self) -> Any:
        """The `llm.training.backend.Backend`; called in a rank, when the process group is there."""
        raise NotImplementedError

    def state_bytes_per_parameter(self, ranks: int) -> float:
        """Memory that weights, gradients and optimizer states take on each rank."""
        raise NotImplementedError


class ParallelConfig(Section):
    """How many ranks train together, and what they share."""

    nodes: PositiveInt = 1
    """Pods that train together; more than one needs a pool."""
    processes: PositiveInt = 2
    """Ranks on each node."""
    backend: SerializeAsAny[BackendConfig] = chosen_by_default(BackendConfig)
    """The backend."""

    @property
    def world_size(self) -> int:
        """Ranks of all nodes."""
        return self.nodes * self.processes


class CheckpointsConfig(Section):
    """The checkpoints of a training in progress."""

    every_steps: PositiveInt = 25
    """Steps between checkpoints."""
    keep: int = Field(default=2, ge=2)
    """Complete checkpoints that are kept."""


class TrainingValidationConfig(Section):
    """The loss on the validation split while the model is trained."""

    every_steps: PositiveInt = 100
    """Steps between two measurements."""


class CallbackConfig(NamedSection):
    """A behaviour that is added to the training (`docs/extend/callback.md`)."""

    home: ClassVar[str] = "llm.training.callbacks"
    key: ClassVar[str] = "training.callbacks"

    def build(self) -> Any:
        """The `llm.training.callbacks.Callback` with its own state; called once in each rank."""
        raise NotImplementedError


OnChange = Literal["continue", "refuse", "anew"]


class TrainingConfig(Section):
    """How the model is trained."""

    batch: BatchConfig = BatchConfig()
    """The batch."""
    length: LengthConfig = LengthConfig()
    """The length."""
    optimizer: SerializeAsAny[OptimizerConfig] = chosen_by_default(OptimizerConfig)
    """The optimizer."""
    schedule: SerializeAsAny[ScheduleConfig] = chosen_by_default(ScheduleConfig)
    """The learning rate's schedule."""
    compute: ComputeConfig = ComputeConfig()
    """The arithmetic."""
    parallel: ParallelConfig = Field(default_factory=ParallelConfig)
    """The ranks."""
    pool: Annotated[NameInKubernetes | None, COURSE] = None
    """Pool of nodes (a TrainingRuntime of the platform chart) that trains; None: the machine that the step runs on."""
    queue: Annotated[NameInKubernetes | None, COURSE] = None
    """LocalQueue of Kueue that the training waits in; None: the namespace's queue `default`, if there is one."""
    priority: Annotated[NameInKubernetes | None, COURSE] = None
    """WorkloadPriorityClass of Kueue for the training in its queue; None: none."""
    on_change: Annotated[OnChange, COURSE] = "continue"
    """Whether a training that was cut off goes on when its code, libraries or length changed (in S3 it never does)."""
    checkpoints: Annotated[CheckpointsConfig, COURSE] = CheckpointsConfig()
    """The checkpoints."""
    validation: TrainingValidationConfig = TrainingValidationConfig()
    """The look at the validation split."""
    callbacks: tuple[SerializeAsAny[CallbackConfig], ...] = ()
    """Behaviours to add, each a name, an import path or `{name: …, key: value}`."""
    seed: Seed = 1234
    """Seed of the initial weights and of the order of the data."""

    @property
    def modules(self) -> list[str]:
        """The modules that names and import paths chose: their code takes part in the result."""
        chosen = (self.optimizer, self.schedule, self.parallel.backend, *self.callbacks)
        return sorted({type(section).__module__ for section in chosen})
