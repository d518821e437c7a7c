"""Addresses and names that MLflow accepts, checked before any work starts: MLflow itself would refuse at the end."""

from __future__ import annotations

from urllib.parse import urlsplit

from llm.config.secrets import without_secrets
from llm.config.sections import TrackingConfig
from llm.errors import UserError

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
ALLOWED = (
    "Allowed: http://HOST:PORT, https://…, and the databases sqlite:///FILE, postgresql://…, mysql://… and mssql://…."
)
LONGEST_MODEL, LONGEST_EXPERIMENT = 256, 500
NOT_IN_A_MODEL = "/:'"
"""MLflow refuses the first two; the third ends a name in its searches."""


def check_tracking(tracking: TrackingConfig) -> None:
    """Raise UserError for an address or a name that MLflow would refuse later."""
    if tracking.uri is not None:
        _check_address(tracking.uri)
    _check_name("tracking.model", tracking.model, LONGEST_MODEL)
    _check_name("tracking.experiment", tracking.experiment, LONGEST_EXPERIMENT)
    wrong = [character for character in NOT_IN_A_MODEL if character in tracking.model]
    if wrong or tracking.model in (".", ".."):
        raise UserError(
            f"tracking.model={tracking.model} cannot be the name of a registered model",
            f"Leave out {' and '.join(wrong)}." if wrong else "It would be a folder in an address.",
        )


def _check_address(uri: str) -> None:
    scheme, separator, rest = uri.partition("://")
    kind = scheme.partition("+")[0]
    if not separator or not (kind in DATABASES or scheme in SERVERS):
        raise UserError(f"tracking.uri={without_secrets(uri)} is not an address of MLflow", _remedy(uri), ALLOWED)
    if scheme in SERVERS:
        try:
            host = urlsplit(uri).hostname
            _ = urlsplit(uri).port
        except ValueError as error:
            raise UserError(
                f"tracking.uri={without_secrets(uri)} is not an address of MLflow: {error}", ALLOWED
            ) from None
        if not host:
            raise UserError(f"tracking.uri={without_secrets(uri)} names no host", ALLOWED)
    elif not rest.strip("/"):
        raise UserError(f"tracking.uri={without_secrets(uri)} names no database", ALLOWED)


def _remedy(uri: str) -> str:
    """The address that the user probably meant."""
    if uri.startswith((".", "/", "~", "file:")):
        return (
            "MLflow stores no more runs in a folder of files. Leave tracking.uri out for a SQLite database next to the"
            " runs, or name a file: tracking.uri=sqlite:///mlflow.db."
        )
    host, _, port = uri.partition(":")
    if host and port.partition("/")[0].isdigit():
        return f"Without http:// it is a path. Set tracking.uri=http://{without_secrets(uri)}."
    return "It begins with none of the schemes that are known here."


def _check_name(key: str, name: str, longest: int) -> None:
    if not name.strip():
        raise UserError(f"{key} is empty", "Give it a name, or leave it out.")
    if len(name) > longest:
        raise UserError(f"{key} has {len(name)} characters, and MLflow takes {longest}", "Shorten it.")
