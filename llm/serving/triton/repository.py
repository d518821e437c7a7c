"""The Triton model repository of one model version.

    <model_name>/config.pbtxt
    <model_name>/<version>/model.py, decoding.py    the backend: copies of BACKEND_FILES
    <model_name>/<version>/onnx/                    the exported model with its tokenizer.json

The folder is served as it is: `tritonserver --model-repository=<folder> --model-control-mode=explicit`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from llm.config import ServingConfig, deciding
from llm.errors import UserError
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store, sha256_of_file
from llm.storage.products import RepositoryCounts

SERVING = Path(__file__).parent.parent
BACKEND_FILES = (SERVING / "triton" / "model.py", SERVING / "engine" / "decoding.py")
CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
instance_group [ {{ kind: KIND_CPU, count: 1 }} ]
version_policy {{ latest {{ num_versions: 1 }} }}

input [
  {{ name: "text_input", data_type: TYPE_STRING, dims: [ 1 ] }},
  {{ name: "max_tokens", data_type: TYPE_INT32, dims: [ 1 ], optional: true }},
  {{ name: "temperature", data_type: TYPE_FP32, dims: [ 1 ], optional: true }},
  {{ name: "top_k", data_type: TYPE_INT32, dims: [ 1 ], optional: true }},
  {{ name: "top_p", data_type: TYPE_FP32, dims: [ 1 ], optional: true }},
  {{ name: "seed", data_type: TYPE_INT64, dims: [ 1 ], optional: true }}
]
output [
  {{ name: "text_output", data_type: TYPE_STRING, dims: [ 1 ] }},
  {{ name: "token_id", data_type: TYPE_INT32, dims: [ 1 ] }},
  {{ name: "final", data_type: TYPE_BOOL, dims: [ 1 ] }},
  {{ name: "finish_reason", data_type: TYPE_STRING, dims: [ 1 ] }}
]

parameters [
  {{ key: "max_slots", value: {{ string_value: "{max_slots}" }} }},
  {{ key: "max_new_tokens", value: {{ string_value: "{max_new_tokens}" }} }}
]
"""


def build(config: ServingConfig, model: Manifest, version: int, store: Store, log: EventLog) -> Manifest:
    """Build the repository of an exported model as `version`; counts name the model, its version and precision.

    Raises UserError if the model was not exported in the wanted precision, DamagedError if it was changed.
    """
    backend = {file.name: sha256_of_file(file) for file in BACKEND_FILES}
    recipe = Recipe(
        "deploy", {**deciding(config), "version": version}, [model], code=(__name__,), inputs={"file": backend}
    )
    if (done := store.find(recipe)) is not None:
        return done
    source = model.verify() / f"onnx-{config.precision}"
    if not source.is_dir():
        raise UserError(
            f"model {model.id} has no onnx-{config.precision} to serve",
            f"serving.precision={config.precision} needs export.onnx to contain {config.precision}.",
        )
    log.emit(Progress(step="deploy", message="copying the model into its repository", done=0, total=1))
    with store.stage("repository", recipe) as stage:
        write(config, source, version, stage.path)
        return stage.commit(RepositoryCounts(model_name=config.model_name, version=version, precision=config.precision))


def write(config: ServingConfig, onnx: Path, version: int, repository: Path) -> None:
    """Write one version of the model below `repository`; other versions stay."""
    home = repository / config.model_name
    (home / str(version)).mkdir(parents=True)
    for file in BACKEND_FILES:
        shutil.copyfile(file, home / str(version) / file.name)
    shutil.copytree(onnx, home / str(version) / "onnx", copy_function=shutil.copyfile)
    (home / "config.pbtxt").write_text(config_pbtxt(config))


def config_pbtxt(config: ServingConfig) -> str:
    """Triton's model configuration."""
    return CONFIG.format(name=config.model_name, max_slots=config.max_slots, max_new_tokens=config.max_new_tokens)
