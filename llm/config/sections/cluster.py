"""The cluster."""

from __future__ import annotations

from typing import Annotated

from llm.config.decides import NOTHING
from llm.config.sections.base import NameInKubernetes, PositiveFloat, Section, Text


class ClusterConfig(Section):
    """Kubernetes and Kubeflow Pipelines: used by `submit` and by a training on a pool."""

    namespace: NameInKubernetes | None = None
    """Namespace of the platform chart; None: the pod's own, or that of the kubeconfig's current context."""
    kfp_uri: str | None = None
    """Address of the Kubeflow Pipelines API; None: KFP_ENDPOINT, or the client's own search."""
    experiment: Annotated[Text, NOTHING] = "gristmill"
    """Experiment of the submitted runs."""
    service_account: NameInKubernetes = "gristmill-pipeline"
    """Service account of a submitted run's steps."""
    unschedulable_after_seconds: PositiveFloat = 600.0
    """How long pods that no node has room for may wait before the training is given up; what is short is named at
    once. A suspended (queued) job waits for as long as it takes."""
    timeout_seconds: PositiveFloat = 30.0
    """How long an answer of an API server may take."""
