"""The origin of an attempt at a run: the submission, the versions, the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from llm import __version__

LIBRARIES = (
    "torch", "deepspeed", "kfp", "mlflow-skinny", "great_expectations", "transformers", "onnxruntime",
    "onnxruntime-genai",
)  # fmt: skip
"""As distributions: mlflow-skinny is in mlflow, and in the images alone."""
KFP_RUN = "GRISTMILL_KFP_RUN"
"""Environment variable of a step's pod with the id that Kubeflow Pipelines gave its run (`components.environment`)."""


def kfp_run() -> str | None:
    """Id of the run of Kubeflow Pipelines that this step is of: one for each submission; None outside of a cluster."""
    return os.environ.get(KFP_RUN) or None


def versions() -> dict[str, str | None]:
    """Versions of Gristmill, Python and the libraries that decide a result; None where one is missing."""
    found: dict[str, str | None] = {"gristmill": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    return found


def machine() -> dict[str, Any]:
    """The machine that the run ran on: system, architecture, processors."""
    return {"system": platform.system(), "architecture": platform.machine(), "cpus": os.cpu_count()}
