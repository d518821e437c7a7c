"""What pods cannot do is refused on the machine that submits, before anything is made."""

from __future__ import annotations

import pytest

from llm.cluster.pipelines.package import for_a_cluster
from llm.cluster.pipelines.pods.preflight import pod_preflight
from llm.config import compose
from llm.errors import UserError
from tests.cases.submission import IN_PODS


def checked(*overrides: str) -> list[str]:
    return pod_preflight(for_a_cluster("pretrain", compose([*IN_PODS, *overrides])))


def test_what_works_in_pods_passes_without_a_word():
    assert checked() == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("storage.uri=store", r"storage.uri=store is a folder.*\n.*s3://BUCKET/PREFIX"),
        ("storage.uri=file:///mnt/store", "storage.uri=file:///mnt/store is a folder"),
        ("tracking.uri=null", r"tracking.uri=null keeps what is tracked in files.*\n.*MLflow server that the pods"),
        ("tracking.uri=sqlite:///mlflow.db", "tracking.uri=sqlite:///mlflow.db keeps what is tracked in files"),
        ("tracking.uri=http://localhost:5000", "tracking.uri=http://localhost:5000 is this machine"),
        ("tracking.uri=http://[::1]:5000", "is this machine"),
        ("tracking.uri=http://me:hunter2@mlflow/", r"holds a password, and everybody.*\n.*MLFLOW_TRACKING_PASSWORD"),
        ("data.path=texts", r"data.path=texts is a path on this machine, and the step that reads it is a pod"),
        ("data.path=~/texts/*.txt", "data.path=~/texts/.* is a path on this machine"),
        ("data.path=s3://bucket/texts", "data.path=s3://bucket/texts is an address, and only files are read"),
        ("validation.suite=mine.json", "validation.suite=mine.json is a path on this machine"),
        (f"run.name={'x' * 64}", "cannot be the name of a run on a cluster\n.*up to 63 letters"),
        ("training.compute.device=cuda", "device=cuda without a pool: the pod of the step train has no GPU"),
        ("tracking.sinks=[mlflow,tensorbord]", "Did you mean tensorboard?"),
        ("run.name=two words", "run.name=two words cannot be the name"),
    ],
)
def test_what_cannot_work_is_refused(override: str, message: str):
    with pytest.raises(UserError, match=message) as error:
        checked(override)
    assert "hunter2" not in str(error.value)


def test_machines_without_kubernetes_do_not_meet_in_pods():
    meet = [
        "training.parallel.nodes=2",
        "training.batch.micro_batch_size=1",
        "training.parallel.rendezvous=node-0:29400",
    ]
    with pytest.raises(UserError, match="rendezvous=node-0:29400 is for machines without Kubernetes"):
        checked(*meet)


def test_a_sink_whose_package_is_in_the_images_alone_passes():
    assert checked("tracking.sinks=[mlflow,wandb]") == []


def test_a_path_that_only_the_pods_know_is_a_warning():
    (warning,) = checked("data.path=/data/texts")
    assert "data.path=/data/texts must be there in the pod" in warning
    assert len(checked("validation.suite=/suites/mine.json")) == 1
