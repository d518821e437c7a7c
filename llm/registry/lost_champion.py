"""Who is champion, and whether there was one: a champion that was deleted must not open the gate.

MLflow removes an alias together with its version, so a registry without a champion looks as if there never was one.
The tag `gristmill.champion` of the registered model therefore keeps the version that was champion last, or `none`.
A registry of an earlier version has no such tag. There the alias `previous`, and versions that are missing from the
count, show that a champion may have been deleted. Limit: if somebody deletes the whole registered model,
no trace of a champion is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
LAST_CHAMPION = "gristmill.champion"
"""Tag of the registered model."""
NONE = "none"
"""Its value where no champion is to be missed."""


@dataclass(frozen=True)
class Aliases:
    """The versions of a registered model by their aliases, and the value of the model's tag."""

    versions: Mapping[str, int]
    last_champion: str | None
    """None: the registry has no such tag."""

    @property
    def champion(self) -> int | None:
        """Version of the champion."""
        return self.versions.get(CHAMPION)


def read_aliases(client: MlflowClient, model: str) -> Aliases:
    """The aliases of a model; no aliases if there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return Aliases({}, NONE)
    return Aliases({alias: int(version) for alias, version in found.aliases.items()}, found.tags.get(LAST_CHAMPION))


def refuse_lost_champion(client: MlflowClient, model: str, now: Aliases) -> None:
    """Raise UserError if there is no champion, and there was one."""
    trace = _trace(client, model, now)
    if trace is None:
        return
    previous = now.versions.get(PREVIOUS)
    back = "" if previous is None else f" `gristmill rollback` makes version {previous} the champion."
    raise UserError(
        f"{model} has lost its champion in MLflow: {trace}",
        "Without a champion every candidate within the floors would pass, also a much worse one.",
        f"Give a version the alias {CHAMPION} in MLflow (`make mlflow`, Models).{back}",
        "To start again without a champion: gristmill rollback --no-champion",
    )


def record_champion(client: MlflowClient, model: str) -> None:
    """Let the tag say who is champion now; a champion that was lost stays in it."""
    now = read_aliases(client, model)
    if now.champion is None and _trace(client, model, now) is not None:
        return
    value = NONE if now.champion is None else str(now.champion)
    if now.last_champion != value:
        client.set_registered_model_tag(model, LAST_CHAMPION, value)


def _trace(client: MlflowClient, model: str, now: Aliases) -> str | None:
    """The sign that a champion was lost; None if there is one, or never was."""
    if now.champion is not None or now.last_champion == NONE:
        return None
    if now.last_champion is not None:
        return f"version {now.last_champion} was the champion"
    if PREVIOUS in now.versions:
        return f"version {now.versions[PREVIOUS]} has the alias {PREVIOUS}, so another one was the champion after it"
    there = {int(version.version) for version in client.search_model_versions(f"name = '{model}'")}
    missing = sorted(set(range(1, max(there, default=1) + 1)) - there)
    if not missing:
        return None
    return f"version {', '.join(map(str, missing))} was deleted, and may have been the champion"
