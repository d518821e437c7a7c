"""The training: what is trained on, how long, how, where, and what is kept."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator

from llm.config.decides import ADDED, COURSE, INPUT
from llm.config.named import NamedSection, chosen_by_default
from llm.config.sections.base import Fraction, NameInKubernetes, PositiveFloat, PositiveInt, Section, Seed, Text
from llm.config.sections.training.guards import BudgetConfig, GuardsConfig
from llm.config.sections.training.held import Held
from llm.config.sections.training.steps import BatchConfig, LengthConfig, StageConfig


class GroupConfig(Section):
    """Parameters that are trained in another way than the rest."""

    match: str
    """Regular expression that is searched for in the parameter's name, such as `embed_tokens`."""
    lr_factor: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 1.0
    """Factor of the learning rate; 0 leaves the parameters as they are."""
    weight_decay: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Weight decay in place of the optimizer's; None: the optimizer's."""

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return value


class OptimizerConfig(NamedSection):
    """The optimizer (`docs/extend/optimizer.md`)."""

    home: ClassVar[str] = "llm.training.optimizer"
    key: ClassVar[str] = "training.optimizer"
    default: ClassVar[str] = "adamw"
    needs_parameters: ClassVar[bool] = False
    """Whether it must know the shapes of the parameters, so that a backend cannot give it flat shares of many."""
    needs_rows: ClassVar[bool] = False
    """Whether its states follow whole rows, so that tensor parallelism cannot cut matrices by columns."""

    lr: PositiveFloat = 3e-3
    """Peak learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are clipped to this norm."""
    groups: Annotated[tuple[GroupConfig, ...], ADDED] = ()
    """Parameters with a rate or a decay of their own, the first match wins: `{match: REGEX, lr_factor: 0.5}`, and
    `weight_decay`."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0), ADDED] = 1.0
    """Factor of the rate for each layer between a parameter and the head; 1: all layers learn alike."""

    def build(self, model: Any) -> Any:
        """The `torch.optim.Optimizer` of a `torch.nn.Module`, with the same order of parameters on every rank."""
        raise NotImplementedError

    def state_bytes(self, shape: tuple[int, ...], *, is_hidden: bool) -> float:
        """Memory of the states of a parameter, for the estimate of it: by default AdamW's two moments in float32.

        `is_hidden`: it is a matrix of a layer.
        """
        return 8.0 * math.prod(shape)


class ScheduleConfig(NamedSection):
    """The learning rate over the steps (`docs/extend/schedule.md`)."""

    home: ClassVar[str] = "llm.training.schedule"
    key: ClassVar[str] = "training.schedule"
    default: ClassVar[str] = "cosine"
    holds_until_fall: ClassVar[bool] = False
    """Whether the rate from the warm-up to the fall is the same in trainings of all lengths."""

    warmup_fraction: Fraction = 0.05
    """Share of the steps in which the rate rises linearly."""

    def rate_after_warmup(self, peak: float, step: int, steps: int) -> float:
        """Learning rate of a step after the warm-up: `step` counts from its end, and `steps` are those that remain."""
        raise NotImplementedError


class LossConfig(NamedSection):
    """The loss of a micro-batch (`docs/extend/loss.md`)."""

    home: ClassVar[str] = "llm.training.loss"
    key: ClassVar[str] = "training.loss"
    default: ClassVar[str] = "cross_entropy"

    def compute(self, model: Any, x_BTD: Any, targets_BT: Any) -> Any:
        """The loss, a scalar tensor, from the stream before the head of a `Decoder`: `model.logits(x_BTD)` is the rest.

        Targets of -100 are not learned from.
        """
        raise NotImplementedError

    def tokens_at_once(self, tokens: int, width: int, vocab_size: int) -> int | None:
        """Of a micro-batch's tokens, those whose logits are in memory at once, made from the whole head; None: all."""
        return None


class MaskConfig(NamedSection):
    """The positions that each position sees in the training (`docs/extend/mask.md`)."""

    home: ClassVar[str] = "llm.training.mask"
    key: ClassVar[str] = "training.mask"
    default: ClassVar[str] = "causal"

    def mask(self, ids_BT: Any, end_of_text: int) -> Any:
        """The mask of a micro-batch: (sequence, head, query, key) -> bool, as in `llm.model.masks`."""
        raise NotImplementedError

    def targets(self, targets_BT: Any) -> Any:
        """The targets, -100 where a position would see its own."""
        return targets_BT


WINDOW_KERNEL, FLOAT8 = "llm.model.kernels.sliding_window", "llm.training.rank.float8"


class ComputeConfig(Section):
    """How the forward and backward passes are computed."""

    precision: Literal["fp32", "bf16", "fp16", "fp8"] = "fp32"
    """Arithmetic of the forward and backward pass; weights and optimizer states are float32. fp8: bf16, and float8 in
    the matrix products of the layers, on a GPU that has it."""
    device: Annotated[Literal["auto", "cpu", "cuda"], ADDED] = "auto"
    """Processor of the ranks; auto: a GPU where torch sees one."""
    attention: Annotated[Literal["torch", "triton"], ADDED] = "torch"
    """Kernels of attention; triton: our own for layers with a window, which no GPU has shown to be faster yet."""
    compile: Annotated[bool, ADDED] = False
    """Whether each layer is compiled by torch (needs a C++ compiler; the last bits differ)."""
    recompute: Annotated[Literal["none", "layers", "operations"], COURSE] = "none"
    """Activations that the backward pass computes again: none, all of some layers, or all but the costly operations.
    `auto` becomes the one that costs the least time of those that fit the memory."""
    recompute_every: Annotated[PositiveInt, COURSE] = 1
    """Every which layer does so; `recompute=auto` sets this too."""
    deterministic: Annotated[bool, ADDED] = False
    """Whether operations without a deterministic form are refused, so that runs on one device type are equal."""

    @property
    def modules(self) -> list[str]:
        """The modules that these settings alone load, by name: their libraries are in no other training's recipe."""
        kernels = [WINDOW_KERNEL] if self.attention == "triton" else []
        return kernels + ([FLOAT8] if self.precision == "fp8" else [])


class BackendConfig(NamedSection):
    """The part that shares gradients and optimizer states between the ranks."""

    home: ClassVar[str] = "llm.training.backend"
    key: ClassVar[str] = "training.parallel.backend"
    default: ClassVar[str] = "torch"
    forms: ClassVar[frozenset[str]] = frozenset()
    """The degrees of `training.parallel` that it knows: tensor, context, pipeline, replicas."""
    asks_before_update: ClassVar[bool] = False
    """Whether its `step` takes `may_update`, and asks it before each update (`training.guards.spike_deviations`)."""

    @property
    def gives_parameters(self) -> bool:
        """Whether the optimizer gets the parameters in their shapes; False: a flat share of many."""
        return True

    def build(self, task: Any, mesh: Any, training: TrainingConfig) -> Any:
        """The `llm.training.backend.Backend` of a `Task` on the ranks of a `Mesh` (both in `llm.training.rank`)."""
        raise NotImplementedError

    def holds(self, parallel: ParallelConfig) -> Held:
        """The parts of the model that each rank holds, for the estimate of its memory; by default everything."""
        return Held()


PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
RENDEZVOUS = rf"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:{PORT}$"


class ParallelConfig(Section):
    """How many ranks train together, and what they share."""

    nodes: PositiveInt = 1
    """Pods or machines that train together; more than one needs a pool, or `rendezvous`."""
    rendezvous: Annotated[str | None, COURSE, Field(pattern=RENDEZVOUS)] = None
    """`HOST:PORT` of this machine as the others reach it, to train on several machines without a pool; None: on one."""
    processes: PositiveInt = 2
    """Ranks on each node."""
    backend: SerializeAsAny[BackendConfig] = chosen_by_default(BackendConfig)
    """The backend."""
    tensor: Annotated[PositiveInt, ADDED] = 1
    """Ranks that share each matrix of a layer (tensor parallelism, with sequence parallelism); backend fsdp."""
    context: Annotated[PositiveInt, ADDED] = 1
    """Ranks that share each sequence (context parallelism); backend fsdp."""
    pipeline: Annotated[PositiveInt, ADDED] = 1
    """Ranks that share the layers (pipeline parallelism); backend fsdp."""
    stages_per_rank: Annotated[PositiveInt, ADDED] = 1
    """Parts of the layers that each rank of a pipeline has; more than one interleaves them (smaller bubbles)."""
    replicas: Annotated[PositiveInt, ADDED] = 1
    """Copies of the sharded weights (HSDP): each copy is shared by the ranks that remain; backend fsdp."""

    @property
    def world_size(self) -> int:
        """Ranks of all nodes."""
        return self.nodes * self.processes

    @property
    def data_shares(self) -> int:
        """Ranks with a share of the batch of their own."""
        return self.world_size // (self.tensor * self.context * self.pipeline)


class CheckpointsConfig(Section):
    """The checkpoints of a training in progress."""

    every_steps: PositiveInt = 25
    """Steps between checkpoints."""
    keep: int = Field(default=2, ge=2)
    """The last complete checkpoints that are kept until newer ones come."""
    keep_every_steps: PositiveInt | None = None
    """Steps between checkpoints that are kept for good, after the end of the training too; None: none."""
    keep_best: Annotated[int, Field(ge=0)] = 0
    """Checkpoints with the lowest loss on the validation split that are kept for good."""


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

    start_from: Annotated[Text | None, INPUT, ADDED] = None
    """Checkpoint that the weights start from: its id or name in the store, or a folder; None: random weights."""
    grow: Annotated[bool, INPUT, ADDED] = False
    """Whether that checkpoint may have fewer layers, which are copied, or a shorter context."""
    stages: Annotated[tuple[StageConfig, ...], ADDED] = ()
    """Trainings that come first, each from the weights of the one before it: `{steps: 100, num_hidden_layers: 2}`, and
    `sequence_length`."""
    batch: BatchConfig = BatchConfig()
    """The batch."""
    length: LengthConfig = LengthConfig()
    """The length."""
    optimizer: SerializeAsAny[OptimizerConfig] = chosen_by_default(OptimizerConfig)
    """The optimizer."""
    schedule: SerializeAsAny[ScheduleConfig] = chosen_by_default(ScheduleConfig)
    """The learning rate's schedule."""
    loss: Annotated[SerializeAsAny[LossConfig], ADDED] = chosen_by_default(LossConfig)
    """The loss."""
    mask: Annotated[SerializeAsAny[MaskConfig], ADDED] = chosen_by_default(MaskConfig)
    """The mask."""
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
    guards: Annotated[GuardsConfig, ADDED] = GuardsConfig()
    """The guards."""
    budget: Annotated[BudgetConfig, COURSE, ADDED] = BudgetConfig()
    """The budget."""
    callbacks: tuple[SerializeAsAny[CallbackConfig], ...] = ()
    """Behaviours to add, each a name, an import path or `{name: …, key: value}`."""
    seed: Seed = 1234
    """Seed of the initial weights and of the order of the data."""

    @property
    def modules(self) -> list[str]:
        """The modules that names and import paths chose: their code takes part in the result."""
        chosen = (self.optimizer, self.schedule, self.loss, self.mask, self.parallel.backend, *self.callbacks)
        return sorted({type(section).__module__ for section in chosen} | set(self.compute.modules))
