"""Rules of the parallel forms: each names the setting, what it must divide, and what is allowed."""

from __future__ import annotations

from llm.config.checks.model import divisors
from llm.config.sections import ModelConfig, RunConfig, TrainingConfig
from llm.config.sections.training import MaskConfig
from llm.errors import UserError

DEGREES = ("tensor", "context", "pipeline", "replicas")
KEY = "training.parallel"


def check_parallel(config: RunConfig) -> None:
    """Raise UserError for degrees that cannot work with the ranks, the backend, the model or the batch."""
    model, training = config.model, config.training
    _check_degrees(training)
    _check_offload(training)
    _check_tensor(model, training)
    _check_context(training)
    _check_pipeline(model, training)


def _check_degrees(training: TrainingConfig) -> None:
    parallel = training.parallel
    given = [f"{KEY}.{name}={getattr(parallel, name)}" for name in DEGREES if getattr(parallel, name) > 1]
    refused = [name for name in DEGREES if getattr(parallel, name) > 1 and name not in parallel.backend.forms]
    if refused:
        raise UserError(
            f"{KEY}.backend.name={parallel.backend.name} has no {' or '.join(refused)}: {', '.join(given)}",
            f"Set {KEY}.backend.name=fsdp, or leave the degrees at 1.",
        )
    product = parallel.tensor * parallel.context * parallel.pipeline
    if parallel.world_size % product:
        raise UserError(
            f"{', '.join(given)}: the ranks must be a multiple of {product}, and there are {parallel.world_size}",
            f"Set {KEY}.processes (times {KEY}.nodes) to such a multiple.",
        )
    if parallel.data_shares % parallel.replicas:
        raise UserError(
            f"{KEY}.replicas={parallel.replicas} does not divide the {parallel.data_shares} ranks with own data",
            f"allowed: {divisors(parallel.data_shares)}",
        )


def _check_offload(training: TrainingConfig) -> None:
    backend = training.parallel.backend
    offload, stage = getattr(backend, "offload", None), getattr(backend, "zero_stage", None)
    if offload is not None and stage == 0:
        raise UserError(
            f"{KEY}.backend.offload={offload} with {KEY}.backend.zero_stage=0: DeepSpeed moves a rank's share of the"
            " states, and without ZeRO there is none",
            f"Set {KEY}.backend.zero_stage=1, 2 or 3.",
        )


def _check_tensor(model: ModelConfig, training: TrainingConfig) -> None:
    degree = training.parallel.tensor
    if degree == 1:
        return
    divided = {
        f"model.num_attention_heads={model.num_attention_heads}": model.num_attention_heads,
        f"model.num_key_value_heads={model.num_key_value_heads}": model.num_key_value_heads,
        f"model.intermediate_size={model.intermediate_size}": model.intermediate_size,
        f"training.batch.sequence_length={training.batch.sequence_length} over {KEY}.context":
            training.batch.sequence_length // training.parallel.context,
    }  # fmt: skip
    for what, size in divided.items():
        if size % degree:
            raise UserError(f"{KEY}.tensor={degree} does not divide {what}", f"allowed: {divisors(size)}")
    if model.position == "alibi":
        raise UserError(
            f"{KEY}.tensor={degree} with model.position=alibi: its penalties are not cut by heads",
            f"Set {KEY}.tensor=1, or model.position=rotary.",
        )
    if training.optimizer.needs_rows:
        raise UserError(
            f"{KEY}.tensor={degree} with training.optimizer.name={training.optimizer.name}: its states need whole rows",
            "Choose another optimizer, such as adamw.",
        )
    loss = training.loss
    if loss.tokens_at_once(1, 1, 1) is not None:
        raise UserError(
            f"{KEY}.tensor={degree} with training.loss."
            + ("slice_tokens" if hasattr(loss, "slice_tokens") else f"name={loss.name}")
            + ": the ranks already have parts of the vocabulary",
            "Set training.loss.name=cross_entropy without slice_tokens.",
        )


def _check_context(training: TrainingConfig) -> None:
    degree, length = training.parallel.context, training.batch.sequence_length
    if degree > 1 and length % (2 * degree):
        raise UserError(
            f"{KEY}.context={degree}: each rank takes two parts of a sequence, and"
            f" training.batch.sequence_length={length} is no multiple of {2 * degree}",
            f"nearest: training.batch.sequence_length={max(1, round(length / (2 * degree))) * 2 * degree}",
        )
    mask = training.mask
    if degree > 1 and type(mask).targets is not MaskConfig.targets:
        raise UserError(
            f"{KEY}.context={degree} with training.mask.name={mask.name}: it leaves some positions out of the loss,"
            " so the ranks that share a sequence would average over different numbers of them",
            f"Set {KEY}.context=1, or choose another mask.",
        )


def _check_pipeline(model: ModelConfig, training: TrainingConfig) -> None:
    parallel, batch = training.parallel, training.batch
    degree, each = parallel.pipeline, parallel.stages_per_rank
    if degree == 1:
        if each > 1:
            raise UserError(
                f"{KEY}.stages_per_rank={each} without a pipeline", f"Set {KEY}.pipeline above 1, or leave it out."
            )
        return
    stages = degree * each
    micro_batches = batch.tokens // batch.sequence_length // parallel.data_shares // batch.micro_batch_size
    if model.num_hidden_layers < stages:
        raise UserError(
            f"{KEY}.pipeline={degree} with {KEY}.stages_per_rank={each} needs {stages} layers or more,"
            f" and model.num_hidden_layers={model.num_hidden_layers}",
            "Lower one of the two.",
        )
    if model.tie_word_embeddings or model.unique_layers < model.num_hidden_layers:
        key = "model.tie_word_embeddings=true" if model.tie_word_embeddings else "model.num_unique_layers"
        raise UserError(
            f"{KEY}.pipeline={degree} with {key}: two stages would have the same weights",
            "Set model.tie_word_embeddings=false and model.num_unique_layers=null.",
        )
    if micro_batches < stages or (each > 1 and micro_batches % degree):
        rule = f"a multiple of {degree}, and {stages} or more" if each > 1 else f"{stages} or more"
        raise UserError(
            f"{KEY}.pipeline={degree} needs {rule} micro-batches a step on each rank, and there are {micro_batches}",
            "Lower training.batch.micro_batch_size, or raise training.batch.tokens.",
        )
    if training.optimizer.groups or training.optimizer.layer_decay != 1.0:
        raise UserError(
            f"{KEY}.pipeline={degree} with training.optimizer.groups or layer_decay: stages would have other groups",
            "Leave both out.",
        )
    if training.compute.precision == "fp16":
        raise UserError(
            f"{KEY}.pipeline={degree} with training.compute.precision=fp16: its loss scale does not reach the stages",
            "Set training.compute.precision=bf16.",
        )
