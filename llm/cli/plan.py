"""`gristmill plan`: what a run will take, before it takes it."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose


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
    flops = flops_per_token(model, vocab_size, training.sequence_length)
    ranks = training.world_size
    # float32 weights and gradients on every rank, two AdamW moments and a master copy split by ZeRO-1 and up
    split = ranks if training.backend == "deepspeed" and training.zero_stage >= 1 else 1
    state_bytes = parameters * (4 + 4 / (ranks if training.zero_stage == 2 else 1) + 12 / split)
    click.echo(f"parameters               {parameters:,}")
    click.echo(f"training FLOPs per token {flops:,}")
    click.echo(
        f"memory for model state   {state_bytes / 2**20:,.0f} MiB on each of {ranks} ranks, activations not counted"
    )
    click.echo(f"tokens per step          {training.global_batch_tokens:,}")
    if training.max_steps is not None:
        tokens = training.max_steps * training.global_batch_tokens
        click.echo(f"steps                    {training.max_steps:,}")
        click.echo(f"tokens                   {tokens:,}")
        click.echo(f"FLOPs                    {tokens * flops:.3g}")
    else:
        click.echo(f"length                   {training.minutes:g} minutes; the first steps fix the number of steps")
