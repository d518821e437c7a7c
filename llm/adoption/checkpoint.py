"""A model that others trained, as a checkpoint of the store: its files as they are, after every one was checked.

The folder is what `transformers` saves: config.json, safetensors in one file or in shards, float32 or half precision.
Nothing is converted: the hashes in the manifest are those of the makers' files. If our encoder can read the folder's
tokenizer, it is adopted too, and is the checkpoint's parent, as that of a trained one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from llm.adoption.origin import keep_origin, licence_files, licence_of
from llm.adoption.tokenizer import adopt_tokenizer
from llm.config.checks.model import check_model
from llm.config.families import exported
from llm.config.model_folder import CONFIG, read_config
from llm.errors import UserError
from llm.model.foreign import INDEX, WEIGHTS, WeightFiles, files_of
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store, sha256_of_file
from llm.storage.products import CheckpointCounts
from llm.tokenizer.tokenizer import TOKENIZER


def adopt_checkpoint(folder: Path, store: Store, log: EventLog) -> Manifest:
    """Bring the model in a folder into the store; the same files are one product, whatever the folder is called.

    Raises UserError for a model that cannot be read as its makers meant it, and leaves nothing behind then.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder", "Name the folder with the config.json and the weights of a model.")
    paths = [folder / CONFIG, *files_of(folder), *licence_files(folder)]
    if not (folder / WEIGHTS).is_file():
        paths.append(folder / INDEX)
    check(folder)
    digests = {path.name: sha256_of_file(path) for path in sorted(paths)}
    tokenizer = _tokenizer(folder, store, log)
    recipe = Recipe(
        "adopt-checkpoint",
        {},
        [] if tokenizer is None else [tokenizer],
        code=(__name__,),
        inputs={"file": digests},
    )
    manifest = store.find(recipe)
    if manifest is None:
        with store.stage("checkpoint", recipe) as stage:
            for path in paths:
                _copy(path, stage.path / path.name, digests[path.name])
            manifest = stage.commit(CheckpointCounts(steps=0, tokens=0))
    keep_origin(store.objects, manifest, folder, digests, licence_of(folder))
    return manifest


def check(folder: Path) -> None:
    """Read a whole model once; raises UserError if it is not understood, does not fit or is not finite."""
    config, vocab_size = read_config(folder)
    check_model(exported(config))
    with WeightFiles(folder) as files:
        files.check_fit(config, vocab_size)
        files.check_values(config, vocab_size)


def _tokenizer(folder: Path, store: Store, log: EventLog) -> Manifest | None:
    if not (folder / TOKENIZER).is_file():
        return None
    try:
        return adopt_tokenizer(folder, store)
    except UserError as error:
        log.emit(Warned(message=f"the checkpoint is adopted without its tokenizer: {str(error).splitlines()[0]}"))
        return None


def _copy(path: Path, to: Path, digest: str) -> None:
    """Copy a file that was checked; raises UserError if it was changed since."""
    shutil.copyfile(path, to)
    if sha256_of_file(to) != digest:
        raise UserError(
            f"{path} was changed while it was read",
            "Wait until no other program writes there, and adopt it again.",
        )
