"""The environment of a step's pod: the settings of the store and of MLflow, the keys for both, and its run.

The names are those of the platform chart, installed as `gristmill`. All of it is optional: a cloud may give a pod its
identity in another way, and the step itself names what is really missing. On one machine it has no effect.
"""

from kfp import dsl, kubernetes

from llm.runs.origin import KFP_RUN

SETTINGS = "gristmill-environment"
"""ConfigMap of the platform chart."""
S3_SECRET = "gristmill-s3"  # noqa: S105 - a name
MLFLOW_SECRET = "gristmill-mlflow"  # noqa: S105 - a name
SETTINGS_KEYS = ("AWS_ENDPOINT_URL", "AWS_REGION", "MLFLOW_TRACKING_URI")
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")

RUN_ID = "metadata.labels['pipeline/runid']"
"""Field of a pod with the id that Kubeflow Pipelines gave the run; empty if it has no such label."""


def with_environment(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """The task, with all of it in its pod's environment."""
    kubernetes.use_config_map_as_env(task, SETTINGS, {key: key for key in SETTINGS_KEYS}, optional=True)
    kubernetes.use_secret_as_env(task, S3_SECRET, {key: key for key in S3_KEYS}, optional=True)
    kubernetes.use_secret_as_env(task, MLFLOW_SECRET, {key: key for key in MLFLOW_KEYS}, optional=True)
    kubernetes.use_field_path_as_env(task, KFP_RUN, RUN_ID)
    return task
