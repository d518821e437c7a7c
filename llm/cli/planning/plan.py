"""`gristmill plan`: what a run will take, before it takes it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from llm.cli.options import overrides
from llm.config import RunConfig, compose
from llm.words import duration, hours, money, size

KINDS = ("weights", "gradients", "states", "activations", "buffers")


@click.command("plan")
@overrides
def command(overrides: tuple[str, ...]) -> None:
    """Print the parameters, the memory of a rank, the FLOPs, the time and the cost of a training.

    The memory is an estimate, by kind, at its highest. With `plan.device=h100` or its like, a training that does not
    fit is refused, and the time follows from the device's peak and an assumed share of it. The cost follows from
    `costs.accelerator_hour`. A combination of settings that Gristmill knows cannot work is refused.
    """
    config = compose(overrides)
    from llm.adoption.find import check_adopted
    from llm.training.estimate.fit import check_memory

    check_memory(config)
    check_adopted(config)
    for name, value in (*_model(config), *_memory(config), *_course(config)):
        click.echo(f"{name:<24} {value}")


def _model(config: RunConfig) -> Iterator[tuple[str, str]]:
    from llm.model.size import count_parameters, flops_per_token

    vocab_size, length = config.tokenizer.vocab_size, config.training.batch.sequence_length
    yield "parameters", f"{count_parameters(config.model, vocab_size):,}"
    yield "training FLOPs per token", f"{flops_per_token(config.model, vocab_size, length):,}"


def _memory(config: RunConfig) -> Iterator[tuple[str, str]]:
    from llm.training.estimate.fit import memory_of

    found, parallel, batch = memory_of(config), config.training.parallel, config.training.batch
    ranks = f"each of {parallel.world_size} ranks"
    if parallel.pipeline > 1:
        ranks = f"a rank of stage {found.stage} of {parallel.pipeline}, the fullest"
    of = "" if config.plan.memory_bytes is None else f" of {size(config.plan.memory_bytes)}"
    yield "memory at its highest", f"{size(found.peak)}{of} on {ranks}, estimated"
    for kind in KINDS:
        yield f"  {kind}", size(getattr(found, kind))
    share = batch.tokens // batch.sequence_length // parallel.data_shares // batch.micro_batch_size
    yield "micro-batch", f"{batch.micro_batch_size:,} x {batch.sequence_length:,} tokens"
    yield "micro-batches a step", f"{share:,} on each rank"


def _course(config: RunConfig) -> Iterator[tuple[str, str]]:
    from llm.training.estimate.course import course

    training, plan = config.training, config.plan
    yield "tokens per step", f"{training.batch.tokens:,}"
    if (found := course(config)) is None:
        yield "length", f"{training.length.minutes:g} minutes; the first steps fix the number of steps"
        return
    yield "steps", f"{training.length.steps:,}"
    yield "tokens", f"{found.tokens:,}"
    yield "FLOPs", f"{found.flops:.3g}"
    if found.seconds is None:
        return
    ranks = training.parallel.world_size
    assumed = f"plan.share_of_peak={plan.share_of_peak:g} of the peak, an assumption"
    yield "time", f"{duration(found.seconds)} on {ranks:,} {plan.device}, at {assumed}"
    yield "device hours", hours(found.device_seconds)
    if found.cost is not None:
        yield "cost", f"{money(found.cost)} {config.costs.currency}"
