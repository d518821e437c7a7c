"""`gristmill rehearse`: the step of a training of any size, without its machines."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose
from llm.errors import UserError
from llm.words import size

KINDS = ("weights", "gradients", "states", "activations", "peak")


@click.command("rehearse")
@overrides
def command(overrides: tuple[str, ...]) -> None:
    """Do a step of each kind of rank on tensors without memory, and print what it takes.

    Every layer, every collective and the optimizer run as on the machines, so a shape that does not fit fails here.
    Printed are the memory by kind at its highest, the bytes that a rank sends in a step, and the share of a step that
    a pipeline waits. How long a step takes on a device is not known here.
    """
    config = compose(overrides)
    training = config.training
    if training.parallel.backend.name != "fsdp":  # DDP's reducer, in C++, does not run on fake tensors
        raise UserError(
            f"training.parallel.backend.name={training.parallel.backend.name} cannot be rehearsed",
            "Set training.parallel.backend.name=fsdp.",
        )
    from llm.training.rehearsal.rehearse import bubble, distinct_ranks, rehearse

    ranks = distinct_ranks(training)
    click.echo(f"{training.parallel.world_size} ranks, of which {len(ranks)} differ", err=True)
    for found in rehearse(config):
        click.echo(f"rank {found.rank}, {found.parameters:,} parameters, rehearsed in {found.seconds} s")
        for kind in KINDS:
            click.echo(f"  {kind:<12} {size(getattr(found, kind))}")
        for axis, count in sorted(found.sent.items()):
            click.echo(f"  sent, {axis:<9} {size(count)} a step in {found.collectives[axis]:,} messages")
    if training.parallel.pipeline > 1:
        click.echo(f"pipeline waits           {bubble(training):.0%} of a step")
