"""`gristmill generate TEXT`: a continuation by a trained model."""

from __future__ import annotations

import sys

import click

from llm.cli.options import RUNS, chosen_run, runs_folder


@click.command("generate")
@click.argument("prompt")
@click.option("--run", "name", help="The run with the model; default: the latest run that has a model.")
@runs_folder()
@click.option("--max-new-tokens", default=128, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 is greedy.")
@click.option("--top-k", default=None, type=click.IntRange(1), help="Draw from the K most likely tokens.")
@click.option("--top-p", default=None, type=click.FloatRange(0, 1), help="Draw from the smallest set with this mass.")
@click.option("--seed", default=0, show_default=True, type=int)
def command(
    prompt: str,
    name: str | None,
    root: str | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
) -> None:
    """Continue PROMPT with a run's checkpoint, token by token.

    A prompt best ends without a space: a token carries the space before its word.
    """
    folder = chosen_run(root or RUNS, name, having="train")
    checkpoint = folder.manifest("train")
    from llm.generation import Sampling, stream_text
    from llm.tokenizer import tokenizer_of

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    pieces = stream_text(checkpoint, tokenizer_of(checkpoint), prompt, max_new_tokens, sampling)
    first = next(pieces, "")  # what cannot be continued is refused before anything is printed
    click.echo(f"{prompt}{first}", nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
        sys.stdout.flush()
    click.echo()
