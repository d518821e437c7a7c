"""From an alias back to the products: what the gate compares with, and what is served."""

from __future__ import annotations

from dataclasses import dataclass

from llm.config import TrackingConfig
from llm.config.sections import RunSection
from llm.errors import UserError
from llm.registry.lost_champion import read_aliases, refuse_lost_champion
from llm.registry.versions import STORE, uri_tag
from llm.runs.folder import project_folder, runs_folder
from llm.storage import Manifest, Store, store_at
from llm.tracking.mlflow_server import connection, is_untouched


@dataclass(frozen=True)
class RegisteredModel:
    """A version with the products behind it."""

    version: str
    checkpoint: Manifest
    evaluation: Manifest
    model: Manifest


def champion(config: TrackingConfig, run: RunSection, store: Store) -> RegisteredModel | None:
    """The champion; None if there is none yet.

    Its products are looked for in `store` first, then in the store that they were registered from.

    Raises ServiceError if MLflow does not answer, UserError naming a product of the champion that is gone.
    """
    runs = runs_folder(run.folder)
    if is_untouched(config, runs):
        return None
    with connection(config, runs) as client:
        now = read_aliases(client, config.model)
        refuse_lost_champion(client, config.model, now)
        version = now.champion
        if version is None:
            return None
        tags = client.get_model_version(config.model, str(version)).tags
    registered_from = store_at(tags[STORE], project_folder(runs)) if STORE in tags else None
    stores = [store.objects.uri, *([registered_from] if registered_from else [])]
    return RegisteredModel(
        version=str(version),
        checkpoint=_product(config.model, version, "train", tags, stores),
        evaluation=_product(config.model, version, "evaluate", tags, stores),
        model=_product(config.model, version, "export", tags, stores),
    )


def _product(model: str, version: int, step: str, tags: dict[str, str], stores: list[str]) -> Manifest:
    """The product of a step for this version; raises UserError if it is gone, with the remedy."""
    uri = tags.get(uri_tag(step))
    remedy = (
        "Bring it back, or judge without it: `gristmill rollback` returns to the previous version, and"
        " `gristmill rollback --no-champion` lets the next run start from the floors."
    )
    if uri is None:
        raise UserError(f"champion version {version} of {model} does not say where its {step} is",
                        f"It has no tag {uri_tag(step)}: it was not registered by Gristmill.", remedy)  # fmt: skip
    name = "/".join(uri.split("/")[-2:])  # earlier versions wrote the whole address, which ends the same way
    before = [uri.removesuffix(f"/{name}")] if uri != name else []
    if (found := Manifest.find(name, [*stores, *before])) is not None:
        return found
    raise UserError(f"the product of step {step} for champion version {version} of {model} is gone",
                    f"It should be at {stores[0]}/{name}.", remedy)  # fmt: skip
