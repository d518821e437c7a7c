"""What the cluster must have: Trainer and JobSet in versions that we speak, the pool, and rights for us."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm.cluster.trainjobs.pool_preflight import check_right, read_pool
from llm.errors import ServiceError, UserError
from tests.fakes.cluster import POOLS, FakeCluster
from tests.unit.cluster.conftest import Run

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
    cluster: FakeCluster, run: Run, changes: dict[str, Any], first: str, then: str
):
    for path, answer in changes.items():
        cluster.objects.pop(path, None) if answer is None else cluster.objects.__setitem__(path, answer)
    with pytest.raises(ServiceError, match=rf"(?s)^{re.escape(first)}.*{re.escape(then)}"):
        run()
    assert not cluster.made("POST")


def test_a_cluster_that_hides_what_it_serves_is_taken_at_its_word(cluster: FakeCluster, run: Run):
    cluster.refuse("GET", f"{TRAINER}/v1alpha1$", 403)

    def script(script: Any) -> None:
        script.run_pods()
        script.succeed()

    cluster.script = script
    run()


REVIEW = "selfsubjectaccessreviews"


def check(cluster: FakeCluster, pool: str) -> None:
    read_pool(cluster.api(), pool)
    check_right(cluster.api())


def test_a_pool_that_is_not_there_is_refused_with_those_that_are(cluster: FakeCluster, run: Run):
    for pool in ("a100", "h100"):
        cluster.put(f"{POOLS.format('ml')}/{pool}")
    with pytest.raises(UserError, match=r"training\.pool=v100: namespace ml has no .*\n  Pools there: a100, cpu, h100"):
        run(pool="v100")
    for pool in ("a100", "h100", "cpu"):
        del cluster.objects[f"{POOLS.format('ml')}/{pool}"]
    with pytest.raises(UserError, match="It has none at all"):
        run()
    assert not cluster.made("POST")


def test_who_may_train_on_the_pool_is_let_through(cluster: FakeCluster):
    check(cluster, "cpu")
    asked = {"namespace": "ml", "verb": "create", "group": "trainer.kubeflow.org", "resource": "trainjobs"}
    assert cluster.reviewed == [asked]
    assert not cluster.made("POST", "trainjobs")


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"allowed": False}, ""),
        ({"allowed": False, "reason": "no role of yours says so"}, "  The API server says: no role of yours says so\n"),
        ({"allowed": False, "evaluationError": "role not found"}, "  The API server says: role not found\n"),
    ],
)
def test_who_may_not_create_trainjobs_is_told_what_would_allow_it(
    cluster: FakeCluster, right: dict[str, Any], said: str
):
    cluster.right = right
    with pytest.raises(UserError) as raised:
        check(cluster, "cpu")
    first, then = str(raised.value).split("\n", 1)
    assert re.fullmatch(
        r"the credentials of the test's kubeconfig may not create trainjobs\.trainer\.kubeflow\.org in namespace ml",
        first,
    )
    assert then == (
        f"{said}  The Role gristmill-train of the chart gristmill-platform in that namespace (rbac.train=true)"
        " allows it, and all else that a training needs.\n"
        "  An administrator grants it: kubectl --namespace ml create rolebinding NAME --role=gristmill-train"
        " --user=NAME (or --serviceaccount=NAMESPACE:NAME)"
    )


def test_a_pool_that_is_not_there_is_told_before_rights_are(cluster: FakeCluster):
    cluster.right = {"allowed": False}
    with pytest.raises(UserError, match=r"training\.pool=gpus: namespace ml has no.*\n  Pools there: cpu\."):
        check(cluster, "gpus")


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_does_not_tell_our_rights_is_left_to_refuse_the_trainjob(cluster: FakeCluster, status: int):
    cluster.right = {"allowed": False}
    cluster.refuse("POST", REVIEW, status)
    check(cluster, "cpu")


def test_any_other_refusal_to_tell_our_rights_is_kept(cluster: FakeCluster):
    cluster.refuse("POST", REVIEW, 401)
    with pytest.raises(ServiceError, match="refused to tell our rights: 401 Unauthorized"):
        check(cluster, "cpu")
