"""Moving the aliases: promotion and rollback.

MLflow moves one alias at a time and has no compare-and-set, so the order matters: `previous` is set before
`champion` moves, and a crash between two moves leaves a state from which the same call goes on to the same end.
"""

from __future__ import annotations

from llm.config import TrackingConfig
from llm.config.sections import RunSection
from llm.errors import GateNotPassed, UserError
from llm.registry.lost_champion import (
    CHALLENGER,
    CHAMPION,
    LAST_CHAMPION,
    NONE,
    PREVIOUS,
    read_aliases,
    record_champion,
    refuse_lost_champion,
)
from llm.registry.versions import RETRIES
from llm.runs.folder import RunFolder, runs_folder
from llm.tracking.mlflow_server import connection, is_untouched


def promote(config: TrackingConfig, folder: RunFolder, version: int, verdict: str, judged_against: str | None) -> None:
    """Make a version the champion and the old champion `previous`; nothing changes if it is the champion already.

    `judged_against` is the champion's version that the gate saw; None: there was none. Raises GateNotPassed for any
    verdict but PASS, UserError if there is another champion by now or it was lost, ServiceError if MLflow does not
    answer or refuses.
    """
    if verdict != "PASS":
        raise GateNotPassed(
            f"version {version} of {config.model} is not promoted: the gate said {verdict}",
            "Only PASS leads to promotion; gate.json and the report say what was missing.",
        )
    with connection(config, folder.runs, retries=RETRIES) as client:
        now = read_aliases(client, config.model)
        old = now.champion
        if old != version:
            refuse_lost_champion(client, config.model, now)
            if judged_against != (None if old is None else str(old)):
                raise UserError(
                    f"version {version} of {config.model} was judged against"
                    f" {'no champion' if judged_against is None else f'version {judged_against}'}, and"
                    f" {'there is none' if old is None else f'version {old} is the champion'} by now",
                    "Run the same command again: the gate then compares with that.",
                )
            if old is not None:
                client.set_registered_model_alias(config.model, PREVIOUS, str(old))
            client.set_registered_model_alias(config.model, CHAMPION, str(version))
        record_champion(client, config.model)
        if now.versions.get(CHALLENGER) == version:
            client.delete_registered_model_alias(config.model, CHALLENGER)


def rollback(config: TrackingConfig, run: RunSection) -> int:
    """Make the previous champion the champion again and return its version; it is then nobody's `previous`.

    Raises UserError if there is no previous one, ServiceError if MLflow does not answer or refuses.
    """
    runs = runs_folder(run.folder)
    if is_untouched(config, runs):
        raise _no_previous(config.model, None)
    with connection(config, runs, retries=RETRIES) as client:
        now = read_aliases(client, config.model)
        previous = now.versions.get(PREVIOUS)
        if previous is None:
            raise _no_previous(config.model, now.champion)
        client.set_registered_model_alias(config.model, CHAMPION, str(previous))
        record_champion(client, config.model)
        client.delete_registered_model_alias(config.model, PREVIOUS)
        return previous


def forget_champion(config: TrackingConfig, run: RunSection) -> int | None:
    """Start again without a champion, and return the version that was it, if one is known; versions stay.

    Raises UserError if there is no registered model, ServiceError if MLflow does not answer or refuses.
    """
    from mlflow.exceptions import MlflowException

    runs = runs_folder(run.folder)
    nothing = UserError(f"there is no registered model {config.model} in MLflow", "So there is no champion either.")
    if is_untouched(config, runs):
        raise nothing
    with connection(config, runs, retries=RETRIES) as client:
        now = read_aliases(client, config.model)
        try:
            client.set_registered_model_tag(config.model, LAST_CHAMPION, NONE)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise nothing from error
        for alias in {CHAMPION, PREVIOUS} & set(now.versions):
            client.delete_registered_model_alias(config.model, alias)
        last = now.last_champion
        return now.champion or (int(last) if last is not None and last != NONE else None)


def _no_previous(model: str, champion: int | None) -> UserError:
    return UserError(
        f"{model} has no previous champion to go back to",
        "There is no champion either." if champion is None else f"The champion is version {champion}.",
    )
