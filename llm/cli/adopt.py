"""`gristmill adopt`: what others made, as products of the store."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm.cli.options import overrides
from llm.config import ModelConfig, RunConfig, compose
from llm.errors import UserError

if TYPE_CHECKING:
    from llm.runs.events import EventLog
    from llm.storage import Manifest, Store

NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@click.command("adopt")
@click.argument("kind", type=click.Choice(["checkpoint", "tokenizer", "corpus"]))
@click.argument("path", metavar="FOLDER_OR_FILE")
@overrides
@click.option("--name", help="Its name in the store; default: that of the folder or the file.")
def command(kind: str, path: str, overrides: tuple[str, ...], name: str | None) -> None:
    """Bring a model, a tokenizer or text that others made into the store, with the place that it came from.

    A checkpoint is a folder with config.json and safetensors, as transformers saves it. A tokenizer is a folder with
    tokenizer.json. A corpus is text as in `data.path`. What cannot be read as its makers meant it is refused.
    The same content is one product, however often it is adopted.
    """
    config = compose([*overrides, *([f"data.path={path}"] if kind == "corpus" else [])])
    from llm.runs.event_kinds import Warned
    from llm.runs.events import EventLog
    from llm.storage import Store
    from llm.storage.names import give_name

    store = Store(config.storage.uri)
    label = NOT_IN_A_NAME.sub("-", name or _last_part(path)).strip(".-") or kind
    with tempfile.TemporaryDirectory() as folder:
        log = EventLog(Path(folder) / "events.jsonl")
        manifest = _adopted(kind, path, config, store, log)
        for event in log.of_kind(Warned):
            click.echo(f"warning: {event.message}", err=True)
    for line in _licence(manifest, store):
        click.echo(line)
    click.echo(f"{manifest.kind} {manifest.id} at {manifest.uri}")
    click.echo(f"name: {give_name(store.objects, manifest.kind, manifest.id, label)}")
    for line in _settings(manifest):
        click.echo(line)


def _adopted(kind: str, path: str, config: RunConfig, store: Store, log: EventLog) -> Manifest:
    from llm.storage import user_path

    if kind == "corpus":
        from llm.adoption.corpus import adopt_corpus

        return adopt_corpus(config.data, store, log)
    folder = user_path(path)
    if not folder.is_dir():
        raise UserError(f"{path} is no folder", f"Name the folder of the {kind}.")
    if kind == "tokenizer":
        from llm.adoption.tokenizer import adopt_tokenizer

        return adopt_tokenizer(folder, store)
    from llm.adoption.checkpoint import adopt_checkpoint

    return adopt_checkpoint(folder, store, log)


def _last_part(path: str) -> str:
    return Path(path).absolute().name


def _licence(manifest: Manifest, store: Store) -> Sequence[str]:
    from llm.adoption.origin import origin_of

    origin = origin_of(store.objects, manifest)
    if origin is None or origin.licence is None:
        return ["licence: none was found; ask its makers before you use it"]
    return [f"licence: {next((line.strip() for line in origin.licence.splitlines() if line.strip()), '')}"]


def _settings(manifest: Manifest) -> Sequence[str]:
    """The settings of a run that uses the product, one a line, to be copied."""
    found: dict[str, Any] = {}
    tokenizer = manifest.address if manifest.kind == "tokenizer" else None
    if manifest.kind == "checkpoint":
        from llm.config.families import COMMON, exported
        from llm.config.model_folder import CONFIG, read_config

        model, default = exported(read_config(manifest.file(CONFIG).parent)[0]), ModelConfig()
        for key, value in model.model_dump(mode="json").items():
            if key in COMMON or getattr(model, key) != getattr(default, key):
                found[f"model.{key}"] = value
        found["training.start_from"] = manifest.address
        parents = [f"tokenizer/{parent.id}" for parent in manifest.parents if parent.kind == "tokenizer"]
        tokenizer = next(iter(parents), None)
    if tokenizer is not None:
        found["tokenizer.adopted"] = tokenizer
        found["tokenizer.vocab_size"] = _vocab_size(manifest, tokenizer)
    lines = [f"  {shlex.quote(f'{key}={_written(value)}')}" for key, value in found.items()]
    return ["settings of a run with it:", *lines] if lines else []


def _vocab_size(manifest: Manifest, tokenizer: str) -> int:
    from llm.storage import Manifest
    from llm.storage.products import TokenizerCounts

    store = manifest.uri.removesuffix(f"/{manifest.address}")
    return TokenizerCounts.of(Manifest.read_uri(f"{store}/{tokenizer}")).vocab_size


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
