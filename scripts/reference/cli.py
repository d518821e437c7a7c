"""The page `docs/cli.md`: every command of `gristmill` with its arguments and options, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from llm.cli import cli


def page() -> str:
    """The page's text."""
    context = click.Context(cli, info_name="gristmill")
    lines = [
        "# Command line",
        "",
        "Made from the commands by `make reference`. Results go to stdout, progress and errors to stderr.",
        "[Exit codes](exit-codes.md) are the same for all commands.",
        "A `KEY=VALUE` sets a key of the [configuration](configuration.md).",
    ]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        lines += ["", f"## gristmill {name}", "", *_command(command, click.Context(command, context, name))]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"`gristmill {command.name or context.info_name} {usage}`"
    text = inspect.cleandoc(command.help or "").replace("\b\n", "").partition("\f")[0].strip()
    if text:
        yield ""
        yield from text.splitlines()
    rows = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    rows = [(left, right) for left, right in rows if right and not left.startswith(("-h", "--help"))]
    if rows:
        yield from ("", "| option | meaning |", "| --- | --- |")
        for left, right in rows:
            yield f"| `{_cell(left)}` | {_cell(right)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
