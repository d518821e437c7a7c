"""Rules between sections, checked in one place before any work starts."""

from __future__ import annotations

from llm.config.check_tracking import check_tracking
from llm.config.sections import ModelConfig, RunConfig, TrainingConfig
from llm.errors import UserError
from llm.storage import is_s3

ONNX_HEAD_MULTIPLE = 16


def check_across_sections(config: RunConfig) -> None:
    """Raise UserError for a combination that cannot work."""
    check_model(config.model)
    check_batch(config.training)
    _check_length(config)
    _check_duration(config.training)
    _check_pool(config)
    _check_shared(config)
    _check_splits(config)
    _check_served(config)
    _check_vocabulary(config)
    _check_head_size(config)
    check_tracking(config.tracking)


def check_model(model: ModelConfig) -> None:
    """Heads must divide the width, and key/value heads the query heads."""
    if model.hidden_size % model.num_attention_heads:
        raise UserError(
            f"model.num_attention_heads={model.num_attention_heads} does not divide"
            f" model.hidden_size={model.hidden_size}",
            f"allowed: {_divisors(model.hidden_size)}",
        )
    if (model.hidden_size // model.num_attention_heads) % 2:
        raise UserError(
            f"a head of {model.hidden_size // model.num_attention_heads} is odd: rotary embeddings turn pairs",
            "Choose model.hidden_size and model.num_attention_heads with an even quotient.",
        )
    if model.num_attention_heads % model.num_key_value_heads:
        raise UserError(
            f"model.num_key_value_heads={model.num_key_value_heads} does not divide"
            f" model.num_attention_heads={model.num_attention_heads}",
            f"allowed: {_divisors(model.num_attention_heads)}",
        )


def check_batch(training: TrainingConfig) -> None:
    """The global batch must be whole sequences, shared equally by the ranks, in whole micro batches."""
    batch, parallel = training.batch, training.parallel
    sequences, rest = divmod(batch.tokens, batch.sequence_length)
    if rest or not sequences:
        raise UserError(
            f"training.batch.tokens={batch.tokens} is not a multiple of"
            f" training.batch.sequence_length={batch.sequence_length}",
            f"nearest: {max(1, sequences) * batch.sequence_length}",
        )
    share, rest = divmod(sequences, parallel.world_size)
    if rest:
        ranks = f"training.parallel.processes={parallel.processes}"
        if parallel.nodes > 1:
            ranks = f"training.parallel.nodes={parallel.nodes} times {ranks}"
        raise UserError(
            f"{ranks} do not divide the global batch of {sequences} sequences",
            f"allowed: {_divisors(sequences)} ranks. Set training.parallel.processes, or change training.batch.tokens.",
        )
    if share % batch.micro_batch_size:
        raise UserError(
            f"training.batch.micro_batch_size={batch.micro_batch_size} does not divide a rank's share of the batch",
            f"global batch {batch.tokens} tokens = {sequences} sequences of"
            f" {batch.sequence_length}; {parallel.world_size} ranks -> {share} sequences each",
            f"allowed: {_divisors(share)}. Set training.batch.micro_batch_size, or change training.batch.tokens.",
        )


def _check_length(config: RunConfig) -> None:
    sequence_length = config.training.batch.sequence_length
    if sequence_length > config.model.max_position_embeddings:
        raise UserError(
            f"training.batch.sequence_length={sequence_length} is longer than the model's context,"
            f" model.max_position_embeddings={config.model.max_position_embeddings}",
            "Shorten the sequences or widen the context.",
        )


def _check_duration(training: TrainingConfig) -> None:
    length = training.length
    if (length.steps is None) == (length.minutes is None):
        raise UserError(
            f"training.length.steps={length.steps} and training.length.minutes={length.minutes}:"
            " exactly one must be given",
            "For a length in time: training.length.minutes=60 training.length.steps=null.",
        )


def _check_pool(config: RunConfig) -> None:
    training = config.training
    if training.parallel.nodes > 1 and training.pool is None:
        raise UserError(
            f"training.parallel.nodes={training.parallel.nodes} without a pool to take them from",
            "Name one with training.pool=…, or train on this machine with training.parallel.nodes=1.",
        )
    for key, value in (("queue", training.queue), ("priority", training.priority)):
        if value is not None and training.pool is None:
            raise UserError(
                f"training.{key}={value} without a pool: only a training on a pool waits in a queue",
                f"Name one with training.pool=…, or leave out training.{key}.",
                f"For the pod of a step: pods.all.{key}, or pods.steps.STEP.{key}.",
            )
    if training.pool is not None and not is_s3(config.storage.uri):
        raise UserError(
            f"training.pool={training.pool} trains in pods, and storage.uri={config.storage.uri} is on this machine",
            "The pods must reach the store: set storage.uri=s3://BUCKET/PREFIX.",
        )


def _check_shared(config: RunConfig) -> None:
    if not is_s3(config.run.folder):
        return
    if not is_s3(config.storage.uri):
        raise UserError(
            f"run.folder={config.run.folder} is shared, and storage.uri={config.storage.uri} is on this machine",
            "Set storage.uri=s3://BUCKET/PREFIX too.",
        )
    if config.tracking.uri is None:
        raise UserError(
            f"run.folder={config.run.folder} is in S3, where MLflow's database cannot be",
            "Set tracking.uri to an MLflow server.",
        )


def _check_splits(config: RunConfig) -> None:
    held_out = config.data.validation_fraction + config.data.test_fraction
    if not 0 < held_out < 1 or not config.data.test_fraction or not config.data.validation_fraction:
        raise UserError(
            f"data.validation_fraction={config.data.validation_fraction} and data.test_fraction="
            f"{config.data.test_fraction} leave an empty split",
            "Both must be above 0 and their sum below 1.",
        )


def _check_served(config: RunConfig) -> None:
    if config.serving.precision not in config.export.onnx:
        raise UserError(
            f"serving.precision={config.serving.precision} is not among export.onnx={list(config.export.onnx)}",
            "The served precision must be exported: add it there, or serve another.",
        )


def _check_vocabulary(config: RunConfig) -> None:
    """GenAI's builder knows the output head by its width (`base.py` of onnxruntime-genai 0.18: `hf_lm_head`)."""
    model, vocab_size = config.model, config.tokenizer.vocab_size
    head_size = model.hidden_size // model.num_attention_heads
    widths = {
        f"model.hidden_size={model.hidden_size}": model.hidden_size,
        f"model.intermediate_size={model.intermediate_size}": model.intermediate_size,
        f"model.num_key_value_heads={model.num_key_value_heads} of {head_size}": model.num_key_value_heads * head_size,
    }
    for layer, width in widths.items():
        if width == vocab_size:
            raise UserError(
                f"tokenizer.vocab_size={vocab_size} is as wide as a layer of the model ({layer}):"
                " ONNX Runtime GenAI's model builder would take that layer for the output head",
                f"Choose another vocabulary: tokenizer.vocab_size={vocab_size + 1}, for example.",
            )


def _check_head_size(config: RunConfig) -> None:
    """ONNX Runtime runs our attention as its operator GroupQueryAttention with `do_rotary`, which asks for this.

    Source: `group_query_attention_helper.h` of onnxruntime 1.32, "head_size must be a multiple of 8" and, with rotary
    embeddings, "head_size shall be a multiple of 16"; it says so when the model runs first, after the training.
    """
    model = config.model
    head_size = model.hidden_size // model.num_attention_heads
    if config.export.onnx and head_size % ONNX_HEAD_MULTIPLE:
        fitting = [
            heads
            for heads in range(1, model.hidden_size + 1)
            if model.hidden_size % (heads * ONNX_HEAD_MULTIPLE) == 0 and heads % model.num_key_value_heads == 0
        ]
        raise UserError(
            f"a head of {head_size} (model.hidden_size={model.hidden_size} over model.num_attention_heads="
            f"{model.num_attention_heads}) cannot be exported: ONNX Runtime needs a multiple of {ONNX_HEAD_MULTIPLE}",
            f"allowed with this width: model.num_attention_heads={' or '.join(map(str, fitting))}."
            if fitting
            else f"Choose model.hidden_size as a multiple of {ONNX_HEAD_MULTIPLE} times model.num_attention_heads.",
        )


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)
