"""Rules between sections, checked in one place before any work starts."""

from __future__ import annotations

from llm.config.checks.compute import check_compute
from llm.config.checks.model import check_exported, check_model, divisors
from llm.config.checks.parallel import check_parallel
from llm.config.checks.stages import check_stages
from llm.config.checks.tracking import check_tracking
from llm.config.sections import RunConfig, TrainingConfig
from llm.errors import UserError
from llm.storage import is_s3


def check_across_sections(config: RunConfig) -> None:
    """Raise UserError for a combination that cannot work."""
    check_model(config.model)
    check_parallel(config)
    check_batch(config.training)
    _check_length(config)
    _check_duration(config.training)
    check_compute(config)
    _check_optimizer(config.training)
    _check_mask(config.training)
    _check_guards(config.training)
    _check_budget(config.training)
    _check_pool(config)
    _check_shared(config)
    _check_splits(config)
    _check_served(config)
    _check_vocabulary(config)
    check_exported(config)
    check_tracking(config.tracking)
    check_stages(config, check_across_sections)


def check_batch(training: TrainingConfig) -> None:
    """Each batch must be whole sequences, shared equally by the ranks, in whole micro batches; a ramp must rise."""
    _check_tokens(training, "training.batch.tokens", training.batch.tokens)
    ramp = training.batch.ramp
    for number, part in enumerate(ramp):
        key = f"training.batch.ramp[{number}].tokens"
        _check_tokens(training, key, part.tokens)
        after = ramp[number + 1].tokens if number + 1 < len(ramp) else training.batch.tokens
        if part.tokens >= after:
            raise UserError(
                f"{key}={part.tokens} is not below the batch after it, {after} tokens",
                "Let the batches of training.batch.ramp rise, the last one below training.batch.tokens.",
            )
    if ramp:
        _check_ramp(training)


def _check_tokens(training: TrainingConfig, key: str, tokens: int) -> None:
    batch, parallel = training.batch, training.parallel
    sequences, rest = divmod(tokens, batch.sequence_length)
    if rest or not sequences:
        raise UserError(
            f"{key}={tokens} is not a multiple of training.batch.sequence_length={batch.sequence_length}",
            f"nearest: {max(1, sequences) * batch.sequence_length}",
        )
    share, rest = divmod(sequences, parallel.data_shares)
    if rest:
        ranks = f"training.parallel.processes={parallel.processes}"
        if parallel.nodes > 1:
            ranks = f"training.parallel.nodes={parallel.nodes} times {ranks}"
        raise UserError(
            f"{ranks} do not divide the global batch of {sequences} sequences",
            f"allowed: {divisors(sequences)} ranks. Set training.parallel.processes, or change {key}.",
        )
    if share % batch.micro_batch_size:
        raise UserError(
            f"training.batch.micro_batch_size={batch.micro_batch_size} does not divide a rank's share of the batch",
            f"global batch {tokens} tokens = {sequences} sequences of"
            f" {batch.sequence_length}; {parallel.data_shares} ranks -> {share} sequences each",
            f"allowed: {divisors(share)}. Set training.batch.micro_batch_size, or change {key}.",
        )


def _check_ramp(training: TrainingConfig) -> None:
    steps, length = sum(part.steps for part in training.batch.ramp), training.length
    if length.minutes is not None:
        raise UserError(
            f"training.batch.ramp with training.length.minutes={length.minutes:g}: the steps whose speed would fix the"
            " length are those of the ramp",
            "Give the length in steps: training.length.steps=… training.length.minutes=null.",
        )
    if length.steps is not None and steps >= length.steps:
        raise UserError(
            f"training.batch.ramp has {steps} steps, and training.length.steps={length.steps} leaves none for"
            f" training.batch.tokens={training.batch.tokens}",
            "Shorten the ramp, or lengthen the training.",
        )
    if training.parallel.pipeline > 1:
        raise UserError(
            f"training.batch.ramp with training.parallel.pipeline={training.parallel.pipeline}: the order of work of"
            " its stages is made for one number of micro-batches",
            "Leave one of the two out.",
        )


def _check_length(config: RunConfig) -> None:
    sequence_length = config.training.batch.sequence_length
    if sequence_length > config.model.max_position_embeddings:
        raise UserError(
            f"training.batch.sequence_length={sequence_length} is longer than the model's context,"
            f" model.max_position_embeddings={config.model.max_position_embeddings}",
            "Shorten the sequences or widen the context.",
        )


def _check_optimizer(training: TrainingConfig) -> None:
    optimizer, backend = training.optimizer, training.parallel.backend
    if optimizer.needs_parameters and not backend.gives_parameters:
        stage = getattr(backend, "zero_stage", None)
        which = "" if stage is None else f" and training.parallel.backend.zero_stage={stage}"
        raise UserError(
            f"training.optimizer.name={optimizer.name} needs parameters in their shapes, and"
            f" training.parallel.backend.name={backend.name}{which} give it flat shares of them",
            "Set training.parallel.backend.name=torch or fsdp, or training.parallel.backend.zero_stage=0.",
        )


def _check_mask(training: TrainingConfig) -> None:
    tokens, length = getattr(training.mask, "tokens", 0), training.batch.sequence_length
    if training.mask.name == "prefix" and tokens > length:
        raise UserError(
            f"training.mask.tokens={tokens} leaves nothing to learn of a sequence of"
            f" training.batch.sequence_length={length} tokens",
            "Shorten the prefix.",
        )


def _check_guards(training: TrainingConfig) -> None:
    deviations, backend = training.guards.spike_deviations, training.parallel.backend
    if deviations is None and training.guards.rollback_steps is not None:
        raise UserError(
            f"training.guards.rollback_steps={training.guards.rollback_steps} without spikes to go back from",
            "Set training.guards.spike_deviations, such as 6.",
        )
    if training.guards.rollback_steps is not None and training.batch.ramp:
        raise UserError(
            f"training.guards.rollback_steps={training.guards.rollback_steps} with training.batch.ramp:"
            " a step that takes a later batch would take another size",
            "Leave one of the two out.",
        )
    if deviations is not None and not backend.asks_before_update:
        raise UserError(
            f"training.guards.spike_deviations={deviations:g} with training.parallel.backend.name={backend.name}:"
            " this backend updates without asking whether the step is a spike",
            "Set training.parallel.backend.name=torch or fsdp, or training.guards.spike_deviations=null.",
        )


def _check_budget(training: TrainingConfig) -> None:
    budget = training.budget
    if budget.money is not None and not budget.price:
        raise UserError(
            f"training.budget.money={budget.money:g} is never reached: training.budget.price={budget.price}",
            "Set the price of a device for an hour, or cap the hours with training.budget.device_hours.",
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
    nodes, rendezvous = training.parallel.nodes, training.parallel.rendezvous
    if nodes > 1 and training.pool is None and rendezvous is None:
        raise UserError(
            f"training.parallel.nodes={nodes} without a pool to take them from",
            "Name one with training.pool=…, or train on this machine with training.parallel.nodes=1.",
            "Without Kubernetes the machines meet at training.parallel.rendezvous=HOST:PORT.",
        )
    if rendezvous is not None and training.stages:
        raise UserError(
            f"training.parallel.rendezvous={rendezvous} with training.stages: each stage would wait for the other"
            " machines to be started again",
            "Train the stages one by one (training.start_from, training.grow), or on a pool.",
        )
    if rendezvous is not None and (nodes == 1 or training.pool is not None):
        why = "a pool says itself where its pods meet" if training.pool is not None else "one machine meets nobody"
        raise UserError(
            f"training.parallel.rendezvous={rendezvous} with training.parallel.nodes={nodes} and"
            f" training.pool={training.pool}: {why}",
            "Leave it out, or train on several machines without a pool.",
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
    head_size = model.head_size
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
