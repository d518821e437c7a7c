"""Registration: a trained model with its origin becomes a version in MLflow.

The weights stay in the store. MLflow keeps the run's parameters and metrics, the manifest of every step as a small
file, and for the version the ids of those manifests and their addresses in the store as tags, so that `lookup.py` finds
the products again. Law: registering the same exported model twice gives the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from llm.config import TrackingConfig
from llm.errors import UserError
from llm.registry.lost_champion import CHALLENGER, LAST_CHAMPION, NONE, read_aliases, record_champion
from llm.runs.folder import RunFolder
from llm.storage import Manifest, is_s3, store_hint
from llm.tracking.mlflow_server import is_server, tracking_uri
from llm.tracking.mlflow_sink import Uploader

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_STEP = "export"
"""The step whose product a version is."""
MODEL_ID = "gristmill.model"
STORE = "gristmill.store"
"""Tag that says where the store was: as a URI, or relative to the folder of the project."""
MANIFESTS = "manifests"
RETRIES = 2


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model and the MLflow run that it came from."""

    name: str
    version: int
    run_id: str


def register(config: TrackingConfig, folder: RunFolder, manifests: Mapping[str, Manifest]) -> ModelVersion:
    """Deliver the run, then register its exported model as challenger; `manifests` are those of its steps, by step.

    Raises ServiceError with the address and the reason if MLflow does not answer or refuses.
    """
    if MODEL_STEP not in manifests:
        raise UserError("there is no exported model to register", "Run export first.")
    model = manifests[MODEL_STEP]
    uploader = Uploader(folder, config)
    with uploader.working(retries=RETRIES) as client:
        run_id = uploader.send()
        tags = {MODEL_ID: model.id, **lineage(manifests), **_store(model, config, folder)}
        _describe_run(client, run_id, manifests, tags)
        if folder.report.is_file():
            client.log_artifact(run_id, str(folder.report))
        _ensure_model(client, config.model)
        found = client.search_model_versions(f"name = '{config.model}' and tags.`{MODEL_ID}` = '{model.id}'")
        version = found[0] if found else client.create_model_version(
            config.model, _source(model, run_id), run_id, tags=tags
        )  # fmt: skip
        number = int(version.version)
        for name in sorted(tags.keys() - {name for name, value in version.tags.items() if value == tags.get(name)}):
            client.set_model_version_tag(config.model, str(number), name, tags[name])
        if read_aliases(client, config.model).champion != number:
            client.set_registered_model_alias(config.model, CHALLENGER, str(number))
        record_champion(client, config.model)
        return ModelVersion(config.model, number, str(version.run_id))


def lineage(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Tags that name each step's product: `gristmill.id.train` and `gristmill.uri.train`."""
    return {id_tag(step): manifest.id for step, manifest in manifests.items()} | {
        uri_tag(step): manifest.address for step, manifest in manifests.items()
    }


def _store(model: Manifest, config: TrackingConfig, folder: RunFolder) -> dict[str, str]:
    """The tag of the store: a server may serve several projects, a local database moves with its own."""
    store = model.uri.removesuffix(f"/{model.address}")
    is_local = not is_server(tracking_uri(config, folder.runs))
    return {STORE: store_hint(store, folder.project) if is_local else store} if store != model.uri else {}


def id_tag(step: str) -> str:
    """Tag with the id of a step's product."""
    return f"gristmill.id.{step}"


def uri_tag(step: str) -> str:
    """Tag with the address of a step's product."""
    return f"gristmill.uri.{step}"


def _describe_run(
    client: MlflowClient, run_id: str, manifests: Mapping[str, Manifest], tags: Mapping[str, str]
) -> None:
    """Keep every manifest as a file of the MLflow run, and the ids and addresses as its tags."""
    from mlflow.entities import RunTag

    with TemporaryDirectory() as folder:
        for step, manifest in manifests.items():
            manifest.write(Path(folder) / f"{step}.json")
        client.log_artifacts(run_id, folder, MANIFESTS)
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={LAST_CHAMPION: NONE})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _source(model: Manifest, run_id: str) -> str:
    """The address that the version points at: the product in S3, or its manifests, since a folder can be moved."""
    return model.uri if is_s3(model.uri) else f"runs:/{run_id}/{MANIFESTS}"
