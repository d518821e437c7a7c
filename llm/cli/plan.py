"""`gristmill plan`: what a run will take, before it takes it."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose
from llm.words import size


@click.command("plan")
@overrides
def command(overrides: tuple[str, ...]) -> None:
    """Print the parameters, the memory for the model's state, the FLOPs and the length of a training.

    The length is in steps and tokens, or in minutes where these are set. How long a step takes is known when it runs.
    A combination of settings that Gristmill knows cannot work is refused.
    """
    config = compose(overrides)
    from llm.model.size import count_parameters, flops_per_token

    model, training, vocab_size = config.model, config.training, config.tokenizer.vocab_size
    parameters = count_parameters(model, vocab_size)
    flops = flops_per_token(model, vocab_size, training.batch.sequence_length)
    ranks = training.parallel.world_size
    state_bytes = parameters * training.parallel.backend.state_bytes_per_parameter(ranks)
    click.echo(f"parameters               {parameters:,}")
    click.echo(f"training FLOPs per token {flops:,}")
    click.echo(f"memory for model state   {size(state_bytes)} on each of {ranks} ranks, activations not counted")
    click.echo(f"tokens per step          {training.batch.tokens:,}")
    if training.length.steps is not None:
        tokens = training.length.steps * training.batch.tokens
        click.echo(f"steps                    {training.length.steps:,}")
        click.echo(f"tokens                   {tokens:,}")
        click.echo(f"FLOPs                    {tokens * flops:.3g}")
    else:
        click.echo(
            f"length                   {training.length.minutes:g} minutes; the first steps fix the number of steps"
        )
