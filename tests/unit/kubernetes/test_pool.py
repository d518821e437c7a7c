"""What the cluster must have: Trainer and JobSet in versions that we speak."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm.errors import ServiceError
from tests.kubernetes_case import FakeKubernetes
from tests.unit.kubernetes.conftest import Follow

TRAINER = "/apis/trainer.kubeflow.org"
NEEDED = "needs Kubeflow Trainer 2.0 to 2.3, which serves trainer.kubeflow.org/v1alpha1"


@pytest.mark.parametrize(
    ("changes", "first", "then"),
    [
        (
            {TRAINER: None, f"{TRAINER}/v1alpha1": None},
            "Kubeflow Trainer is not installed: the cluster does not know trainjobs.trainer.kubeflow.org",
            f"{NEEDED}.\n  To look: kubectl get crd trainjobs.trainer.kubeflow.org",
        ),
        (
            {TRAINER: None, f"{TRAINER}/v1alpha1": None, "/apis/kubeflow.org/v1": {}},
            "the cluster's Kubeflow training is too old: it serves kubeflow.org/v1 (PyTorchJob)",
            NEEDED,
        ),
        (
            {TRAINER: {"versions": [{"version": "v1"}, {"version": "v1beta1"}]}, f"{TRAINER}/v1alpha1": None},
            "the cluster's Kubeflow Trainer serves trainer.kubeflow.org/v1, trainer.kubeflow.org/v1beta1, not v1alpha1",
            NEEDED,
        ),
        (
            {f"{TRAINER}/v1alpha1": {"resources": [{"name": "trainjobs"}]}},
            "the cluster's trainer.kubeflow.org/v1alpha1 has no trainingruntimes.trainer.kubeflow.org",
            NEEDED,
        ),
        (
            {"/apis/jobset.x-k8s.io/v1alpha2": None},
            "the cluster has Kubeflow Trainer but no jobset.x-k8s.io/v1alpha2",
            "through JobSet, 0.8 or newer",
        ),
    ],
)
def test_what_is_missing_or_too_old_is_named_before_anything_is_made(
    cluster: FakeKubernetes, run: Follow, changes: dict[str, Any], first: str, then: str
):
    for path, answer in changes.items():
        cluster.discovery.pop(path, None) if answer is None else cluster.discovery.__setitem__(path, answer)
    with pytest.raises(ServiceError, match=rf"(?s)^{re.escape(first)}.*{re.escape(then)}"):
        run()
    assert not cluster.made("POST")


def test_a_cluster_that_hides_what_it_serves_is_taken_at_its_word(cluster: FakeKubernetes, run: Follow):
    cluster.refuse("GET", f"{TRAINER}/v1alpha1$", 403)

    def script(script: Any) -> None:
        script.run_pods()
        script.succeed()

    cluster.script = script
    run()
