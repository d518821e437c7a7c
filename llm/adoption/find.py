"""The product or the folder that a setting names: `checkpoint/RUN@1`, `RUN@1`, an id, or a folder of this machine."""

from __future__ import annotations

import re
from pathlib import Path

from llm.config import RunConfig
from llm.config.derived.stages import stages_of
from llm.config.model_folder import CONFIG, read_config, refuse_other_model
from llm.errors import UserError
from llm.storage import Manifest, Store, user_path
from llm.storage.names import resolved
from llm.storage.products import TokenizerCounts


def folder_named(text: str) -> Path | None:
    """The folder of this machine that a setting names; None if it names none."""
    try:
        path = user_path(text)
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, a NUL in it
        return None


def product_named(setting: str, text: str, kind: str, store: Store) -> Manifest:
    """The product of a kind in the store, by its id or its name; `setting` begins the message of the UserError."""
    name, uri = text.removeprefix(f"{kind}/"), store.objects.uri
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,150}(@\d+)?", name):
        if "@" in name:
            return Manifest.read_uri(resolved(f"{uri}/names/{kind}/{name}"))
        if (found := Manifest.find(f"{kind}/{name}", [uri])) is not None:
            return found
    raise UserError(
        f"{setting}={text} is no folder here, and no {kind} in {uri}",
        f"Name a folder, or a {kind} by its id or its name (NAME@1). `gristmill adopt {kind} FOLDER` makes one.",
    )


def check_adopted(config: RunConfig) -> None:
    """Raise UserError before a run's first step for a setting that names nothing, or something of another shape."""
    store = Store(config.storage.uri)
    if (text := config.tokenizer.adopted) is not None and folder_named(text) is None:
        found = product_named("tokenizer.adopted", text, "tokenizer", store)
        refuse_other_vocabulary(text, TokenizerCounts.of(found).vocab_size, config.tokenizer.vocab_size)
    if (text := config.training.start_from) is not None:
        setting = "training.start_from"
        folder = folder_named(text) or product_named(setting, text, "checkpoint", store).file(CONFIG).parent
        refuse_other_model(
            f"{setting}={text}", stages_of(config)[0].model, read_config(folder)[0], grows=config.training.grow
        )


def refuse_other_vocabulary(text: str, found: int, vocab_size: int) -> None:
    """Raise UserError if an adopted tokenizer has not as many entries as the configuration counts with."""
    if found != vocab_size:
        raise UserError(
            f"tokenizer.adopted={text} has {found} entries, and tokenizer.vocab_size={vocab_size}",
            f"Set tokenizer.vocab_size={found}.",
        )


def refuse_folders(config: RunConfig) -> None:
    """Raise UserError for a folder that a step in a container or in a pod would not see."""
    named = {
        "training.start_from": (config.training.start_from, "checkpoint"),
        "tokenizer.adopted": (config.tokenizer.adopted, "tokenizer"),
    }
    for setting, (text, kind) in named.items():
        if text is not None and folder_named(text) is not None:
            raise UserError(
                f"{setting}={text} is a folder of this machine, which a container does not see",
                f"Bring it into the store first: gristmill adopt {kind} {text}",
            )
