"""The sections of a run's configuration: one frozen model each, unknown keys refused.

Under every field stands what it means and its unit; the reference page is made from these lines. Defaults live
here, named settings (a model's size, a machine's training) in `configs/`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Text = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(gt=0, lt=1 << 16)]
NAME_IN_KUBERNETES = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Resamples = Annotated[int, Field(ge=1_000)]
"""Below a thousand the ends of an interval are single draws."""
STDLIB = "stdlib"
"""As `data.path`: no file, but the library of the Python that reads it."""


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataConfig(Section):
    """Which text, and how it is read."""

    path: Text = STDLIB
    """`stdlib` (the running interpreter's standard library), or a file, folder or glob on this machine."""
    domain: str | None = None
    """Domain of documents that do not carry one; None: `text` (`code` and `prose` for the standard library)."""
    licence: str | None = None
    """Licence of documents that do not carry one."""
    text_field: str = "text"
    """Name of the field that holds the text in JSONL and Parquet."""
    validation_fraction: Fraction = 0.1
    """Share of the documents in the validation split."""
    test_fraction: Fraction = 0.1
    """Share of the documents in the test split, which only the evaluation reads."""
    max_rejected_fraction: Fraction = 0.05
    """Largest share of documents that may be binary or not UTF-8 before ingest refuses the whole input."""


class ValidationConfig(Section):
    """What the corpus must satisfy."""

    suite: Text = "pretrain"
    """Name of a Great Expectations suite in `configs/suites/`, or a path to one."""


class TokenizerConfig(Section):
    """The byte-level BPE tokenizer."""

    vocab_size: Annotated[int, Field(ge=257, le=1 << 20)] = 4096
    """Entries of the vocabulary, the 256 bytes and `<|endoftext|>` included; not the width of a layer."""


class ModelConfig(Section):
    """A Llama decoder, in Hugging Face's words; the vocabulary's size comes from the tokenizer."""

    hidden_size: PositiveInt = 256
    """Width of the residual stream."""
    intermediate_size: PositiveInt = 704
    """Width of the SwiGLU layer."""
    num_hidden_layers: PositiveInt = 4
    """Decoder layers."""
    num_attention_heads: PositiveInt = 4
    """Query heads."""
    num_key_value_heads: PositiveInt = 2
    """Key/value heads; must divide the query heads (GQA)."""
    max_position_embeddings: PositiveInt = 512
    """Longest context in tokens."""
    rope_theta: PositiveFloat = 10_000.0
    """Base of the rotary frequencies."""
    rms_norm_eps: PositiveFloat = 1e-5
    """Epsilon of RMSNorm."""
    initializer_range: PositiveFloat = 0.02
    """Standard deviation of the initial weights."""
    tie_word_embeddings: bool = True
    """Whether the output head is the embedding matrix."""


class TrainingConfig(Section):
    """How the model is trained."""

    backend: Literal["deepspeed", "torch"] = "deepspeed"
    """`deepspeed` (ZeRO) or `torch` (DDP)."""
    zero_stage: Annotated[int, Field(ge=0, le=2)] = 1
    """DeepSpeed's ZeRO stage: 0, 1 (optimizer states split over the ranks) or 2 (gradients too)."""
    pool: Annotated[str, Field(pattern=NAME_IN_KUBERNETES)] | None = None
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
    checkpoint_every_steps: PositiveInt = 25
    """Steps between checkpoints."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """Complete checkpoints that are kept."""
    validate_every_steps: PositiveInt = 100
    """Steps between looks at the validation split."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1234
    """Seed of the initial weights and of the order of the data."""

    @property
    def world_size(self) -> int:
        """Ranks of all nodes."""
        return self.nodes * self.processes


class EvaluationConfig(Section):
    """How the model is scored on the test split."""

    max_bytes_per_domain: PositiveInt = 300_000
    """Text to score in each domain; documents are drawn by their id until it is reached."""
    max_bytes_per_document: PositiveInt | None = 32_768
    """Longer documents are scored on this much of their beginning, so that the text comes from more of them and the
    intervals are narrow; None: whole documents."""
    batch_size: PositiveInt = 8
    """Full windows in one forward pass."""
    bootstrap_resamples: Resamples = 10_000
    """Resamples of documents behind each confidence interval."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of the intervals."""
    prompts: tuple[str, ...] = ("def", "class", "import", "The", "Return")
    """Prompts of the samples; without a space at the end, as a token carries the space before its word."""
    sample_tokens: PositiveInt = 64
    """Tokens of one sample."""
    sample_temperature: PositiveFloat = 0.8
    """Temperature of the drawn samples; each prompt also gets a greedy one."""
    sample_top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Probability mass that the drawn samples choose from."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1234
    """Seed of the bootstrap and of the samples."""


class GateConfig(Section):
    """What a candidate must show before it is promoted."""

    max_bits_per_byte: PositiveFloat = 3.0
    """Floor without a champion: overall bits per byte must be at most this."""
    max_domain_bits_per_byte: dict[str, PositiveFloat] = {}
    """The same by domain, for domains that need their own floor."""
    non_inferiority_margin: PositiveFloat = 0.02
    """Bits per byte that a domain may get worse against the champion."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of the paired comparison."""
    bootstrap_resamples: Resamples = 10_000
    """Resamples of documents."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1234
    """Seed of the bootstrap."""


class TensorRTConfig(Section):
    """The TensorRT engine."""

    enabled: bool = False
    """Whether to build an engine."""
    if_missing: Literal["fail", "skip"] = "fail"
    """What to do when TensorRT is not installed here: end with an error before any work, or say so and go on."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp16"
    """Arithmetic of the engine."""
    max_batch_size: PositiveInt = 8
    """Largest batch that the engine takes."""


class ExportConfig(Section):
    """Formats to export to, and how far they may be from the checkpoint."""

    onnx: tuple[Literal["fp32", "int4"], ...] = ("fp32", "int4")
    """ONNX models with KV cache to build."""
    hf_logit_tolerance: PositiveFloat = 1e-4
    """Largest difference of a logit between `transformers` and the checkpoint."""
    onnx_fp32_logit_tolerance: PositiveFloat = 1e-3
    """Largest difference of a logit between ONNX fp32 and the checkpoint."""
    onnx_int4_bits_per_token_tolerance: PositiveFloat = 0.15
    """Largest rise of the mean loss (bits per token) of ONNX int4 over the checkpoint."""
    onnx_int4_greedy_agreement: Fraction = 0.7
    """Smallest share of positions at which int4's most likely token is the checkpoint's."""
    check_documents: PositiveInt = 8
    """Validation documents on which formats are compared."""
    check_tokens: PositiveInt = 64
    """Tokens of each greedy continuation that is compared."""
    tensorrt: TensorRTConfig = TensorRTConfig()
    """The TensorRT engine."""


class ServingConfig(Section):
    """The Triton model repository and server."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "gristmill"
    """Name of the model in Triton: letters, digits, `_`, `.` and `-`."""
    precision: Literal["fp32", "int4"] = "fp32"
    """Which ONNX model is served."""
    max_new_tokens: PositiveInt = 256
    """Most tokens that one request may ask for."""
    max_slots: PositiveInt = 8
    """Requests that decode at the same time; more wait in Triton's queue."""
    address: str = "127.0.0.1"
    """Address that Triton listens on: this machine only, unless changed; Triton itself asks nobody for a key."""
    http_port: Port = 8000
    """Port of Triton's HTTP endpoint."""
    grpc_port: Port = 8001
    """Port of Triton's gRPC endpoint."""
    metrics_port: Port = 8002
    """Port of Triton's Prometheus metrics."""


class TrackingConfig(Section):
    """MLflow."""

    uri: str | None = None
    """Tracking server; None: SQLite and files beside the runs."""
    experiment: str = "gristmill"
    """MLflow experiment."""
    model: str = "gristmill"
    """Name of the registered model."""
    timeout_seconds: PositiveFloat = 10.0
    """How long an answer may take."""


class StorageConfig(Section):
    """Where products are kept."""

    uri: Text = "store"
    """Folder, `file://` or `s3://BUCKET/PREFIX` URI of the store. Keys, region and endpoint of S3 come from the
    environment, under the names that AWS's tools read: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL and so on."""


class ClusterConfig(Section):
    """Kubernetes and Kubeflow Pipelines: used by `submit` and by a training on a pool."""

    namespace: Annotated[str, Field(pattern=NAME_IN_KUBERNETES)] | None = None
    """Namespace of the platform chart; None: the pod's own, or that of the kubeconfig's current context."""
    kfp_uri: str | None = None
    """Address of the Kubeflow Pipelines API; None: KFP_ENDPOINT, or the client's own search."""
    experiment: Text = "gristmill"
    """Experiment of the submitted runs."""
    service_account: Annotated[str, Field(pattern=NAME_IN_KUBERNETES)] = "gristmill-pipeline"
    """Service account of a submitted run's steps."""
    unschedulable_after_seconds: PositiveFloat = 600.0
    """How long pods that no node has room for may wait before the training is given up; what is short is named at
    once. A suspended (queued) job waits for as long as it takes."""
    timeout_seconds: PositiveFloat = 30.0
    """How long an answer of an API server may take."""


class RunSection(Section):
    """The run itself."""

    folder: Text = "runs"
    """Folder of all runs; an `s3://` URI where the steps share no disk (`gristmill submit` sets it)."""
    name: str | None = Field(default=None, pattern=r"^[^/.][^/]*$")
    """Name of this run's folder; None: made from the pipeline and the config, so the same command goes on in it."""
    retrain: bool = False
    """Train anew although a finished training of exactly this recipe is there."""


class RunConfig(Section):
    """A whole run, carried as one YAML document."""

    data: DataConfig = DataConfig()
    """Data."""
    validation: ValidationConfig = ValidationConfig()
    """Validation."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Tokenizer."""
    model: ModelConfig = ModelConfig()
    """Model."""
    training: TrainingConfig = TrainingConfig()
    """Training."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    gate: GateConfig = GateConfig()
    """Gate."""
    export: ExportConfig = ExportConfig()
    """Export."""
    serving: ServingConfig = ServingConfig()
    """Serving."""
    tracking: TrackingConfig = TrackingConfig()
    """Tracking."""
    storage: StorageConfig = StorageConfig()
    """Storage."""
    cluster: ClusterConfig = ClusterConfig()
    """Cluster."""
    run: RunSection = RunSection()
    """Run."""
