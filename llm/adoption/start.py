"""The checkpoint that a training starts from (`training.start_from`), made to fit the training's vocabulary.

    checkpoint in the store, or a folder (adopted first) ──rows for the training's tokenizer──▶ checkpoint

The result is a product: its content is in the training's recipe and identity, and every rank of every backend reads the
same files. If the vocabularies are equal it is the checkpoint itself. Whether there is anything to do is found without
torch and without the weights.
"""

from __future__ import annotations

from llm.adoption.find import folder_named, product_named
from llm.adoption.vocabulary import RowPlan, by_id, by_token, refuse_smaller
from llm.config import ModelConfig
from llm.config.derived.stages import source_layers
from llm.config.model_folder import CONFIG, read_config, refuse_other_model
from llm.errors import DamagedError
from llm.runs.event_kinds import Progress, StartsFrom, Warned
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import CheckpointCounts, TokenizerCounts

SETTING = "training.start_from"


def starting_checkpoint(
    text: str, model: ModelConfig, tokenizer: Manifest, store: Store, log: EventLog, *, grows: bool = False
) -> Manifest:
    """The first weights of a training of this model with this tokenizer, as a product; the log says how they fit.

    With `grows` the checkpoint may have fewer layers, which are copied, or a shorter context.
    Raises UserError if the setting names no checkpoint, or one of another model (the first key that differs is named).
    """
    checkpoint = _checkpoint(text, store, log)
    found, old_size = read_config(checkpoint.file(CONFIG).parent)
    refuse_other_model(f"{SETTING}={text}", model, found, grows=grows)
    own = next((parent for parent in checkpoint.parents if parent.kind == "tokenizer"), None)
    before = None if own is None else Manifest.read_uri(own.uri)
    plan = row_plan(before, tokenizer, old_size)
    if before is None:
        same = f"each id is taken to mean the same in tokenizer {tokenizer.id}"
        log.emit(Warned(message=f"checkpoint {checkpoint.id} does not name its tokenizer: {same}"))
    log.emit(StartsFrom(checkpoint=checkpoint.id, kept=plan.kept, of_parts=plan.of_parts, of_all=plan.of_all))
    if not plan.changes_nothing or len(plan.sources) != old_size:
        others = [] if before is None or before.id == tokenizer.id else [before]
        recipe = Recipe("start", {}, [checkpoint, tokenizer, *others], code=(__name__,))
        checkpoint = _refitted(checkpoint, plan, recipe, store)
    layers = source_layers(found.num_hidden_layers, model.num_hidden_layers)
    if len(layers) == found.num_hidden_layers:
        return checkpoint
    log.emit(Progress(step="train", message=f"{found.num_hidden_layers} layers are copied to {len(layers)}: {layers}"))
    return _grown(checkpoint, layers, store)


def _checkpoint(text: str, store: Store, log: EventLog) -> Manifest:
    if (folder := folder_named(text)) is None:
        return product_named(SETTING, text, "checkpoint", store)
    from llm.adoption.checkpoint import adopt_checkpoint

    return adopt_checkpoint(folder, store, log)


def row_plan(before: Manifest | None, tokenizer: Manifest, old_size: int) -> RowPlan:
    """The rows of a training's vocabulary: by token where both tokenizers can be read, else by id."""
    new_size = TokenizerCounts.of(tokenizer).vocab_size
    if before is not None and before.id == tokenizer.id:
        return by_id(old_size, new_size)  # a smaller one leaves out rows that no token has
    if before is not None:
        try:
            return by_token(before.verify(), tokenizer.verify(), old_size, new_size)
        except DamagedError:
            pass
    refuse_smaller(old_size, new_size)
    return by_id(old_size, new_size)


def _refitted(checkpoint: Manifest, plan: RowPlan, recipe: Recipe, store: Store) -> Manifest:
    """The checkpoint with rows for another vocabulary: a product whose parents are the checkpoint and its tokenizer."""
    if (done := store.find(recipe)) is not None:
        return done
    with store.stage("checkpoint", recipe) as stage:
        from llm.adoption.refit import write_refitted

        write_refitted(checkpoint.verify(), plan, stage.path)
        return stage.commit(CheckpointCounts(steps=0, tokens=0))


def _grown(checkpoint: Manifest, layers: list[int], store: Store) -> Manifest:
    """The checkpoint with copies of its layers: a product whose parent it is."""
    recipe = Recipe("grow", {"layers": layers}, [checkpoint], code=(__name__,))
    if (done := store.find(recipe)) is not None:
        return done
    with store.stage("checkpoint", recipe) as stage:
        from llm.adoption.grow import write_grown

        write_grown(checkpoint.verify(), layers, stage.path)
        return stage.commit(CheckpointCounts(steps=0, tokens=0))
