"""Starting a run: what the server gets, and what is refused before it gets anything."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from llm.cluster.api import Api
from llm.cluster.pipelines.kfp_client import KfpApi, connect
from llm.cluster.pipelines.pods.step_logs import StepLogs
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.submit import start
from llm.cluster.refusal import Refused, Unreachable
from llm.cluster.trainjobs.pool_preflight import check_pool_and_queue
from llm.config import RunConfig, from_yaml
from llm.errors import ServiceError, UserError
from llm.process.interrupts import Interrupts
from tests.cases.submission import NAME, config, small
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Look

TRAINER = "/apis/trainer.kubeflow.org"
POOLS = f"{TRAINER}/v1alpha1/namespaces/kubeflow/trainingruntimes"


def check_places(there: Api, config: RunConfig) -> None:
    if config.training.pool is not None:
        check_pool_and_queue(there, config.training, config.cluster)


def submitted(kfp: KfpServer, *overrides: str) -> RunState:
    chosen = config(kfp, *overrides)
    api = connect(chosen.cluster)
    return start(api, small, chosen, StepLogs(api, chosen.cluster), Interrupts(), check_places)


def test_the_server_gets_name_experiment_account_and_the_package_with_its_configuration(kfp: KfpServer):
    run = submitted(kfp, "cluster.experiment=mine", "cluster.service_account=robot")
    kept = kfp.only_run.body
    assert (run.name, run.state, run.service_account) == (NAME, "PENDING", "robot")
    assert [one["display_name"] for one in kfp.experiments] == ["mine"]
    assert kept["pipeline_spec"]["pipelineInfo"]["name"] == "pretrain"
    assert from_yaml(str(run.parameter("config"))) == config(
        kfp, "cluster.experiment=mine", "cluster.service_account=robot"
    )


def test_an_experiment_is_made_once(kfp: KfpServer):
    submitted(kfp)
    kfp.only_run.script = [Look("SUCCEEDED")]
    submitted(kfp)
    assert [one["display_name"] for one in kfp.experiments] == ["gristmill"]


def test_where_users_are_kept_apart_the_experiment_is_made_in_ones_namespace():
    with KfpServer(multi_user=True) as server:
        submitted(server, "cluster.namespace=mine")
        assert [one["namespace"] for one in server.experiments] == ["mine"]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PAUSED", "CANCELING", "DISSOLVED"])
def test_a_second_run_of_a_name_is_refused_while_the_first_goes_on(kfp: KfpServer, state: str):
    other = kfp.add_run(NAME, [Look(state)])
    with pytest.raises(UserError, match=rf"a run {NAME} is active already: {state}, id {other.id}\n.*--wait.*cancel"):
        submitted(kfp)
    assert not any(request.startswith("POST") for request in kfp.requests)


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_a_name_may_be_used_again_once_its_run_has_ended(kfp: KfpServer, state: str):
    kfp.add_run(NAME, [Look(state)])
    submitted(kfp)
    assert len(kfp.runs) == 2


@pytest.mark.parametrize(("seconds", "stays"), [(-1, False), (0, False), (1, True)])
def test_of_two_that_start_at_the_same_moment_two_never_go_on(
    kfp: KfpServer, monkeypatch: pytest.MonkeyPatch, seconds: int, stays: bool
):
    create = kfp._create_run

    def another_at_the_same_moment(body):
        answer = create(body)
        other = kfp.add_run(NAME, [Look("RUNNING")])
        other.created += timedelta(seconds=seconds)
        return answer

    monkeypatch.setattr(kfp, "_create_run", another_at_the_same_moment)
    if stays:
        submitted(kfp)
    else:
        with pytest.raises(UserError, match="is active already"):
            submitted(kfp)
    ours = next(iter(kfp.runs.values()))
    assert ours.terminated != stays


def test_a_missing_service_account_is_refused_before_anything_is_made(kfp: KfpServer, pods: ClusterServer):
    with pytest.raises(UserError, match=r"no service account robot in the namespace kubeflow.*\n.*gristmill-platform"):
        submitted(kfp, "cluster.service_account=robot")
    assert not any(request.startswith("POST") for request in kfp.requests)


def test_a_missing_pool_is_refused_before_anything_is_made(kfp: KfpServer, pods: ClusterServer):
    pods.put(f"{POOLS}/cpu")
    with pytest.raises(
        UserError,
        match=r"training\.pool=gpu: namespace kubeflow has no TrainingRuntime of that name\n  Pools there: cpu\.",
    ):
        submitted(kfp, "training.pool=gpu")
    assert not any(request.startswith("POST") for request in kfp.requests)
    pods.put(f"{POOLS}/gpu")
    submitted(kfp, "training.pool=gpu")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ([TRAINER, f"{TRAINER}/v1alpha1"], "Kubeflow Trainer is not installed"),
        ([f"{TRAINER}/v1alpha1"], "the cluster's Kubeflow Trainer serves trainer.kubeflow.org/v1beta1, not v1alpha1"),
        (["/apis/jobset.x-k8s.io/v1alpha2"], "the cluster has Kubeflow Trainer but no jobset.x-k8s.io/v1alpha2"),
    ],
)
def test_a_pool_without_the_trainer_that_it_needs_is_refused_as_that(
    kfp: KfpServer, pods: ClusterServer, missing: list[str], words: str
):
    pods.put(f"{POOLS}/gpu")
    pods.objects[TRAINER] = {"versions": [{"version": "v1beta1"}]}
    for path in missing:
        del pods.objects[path]
    with pytest.raises(ServiceError, match=rf"(?s)^{words}.*(Kubeflow Trainer 2\.0 to 2\.3|JobSet, 0\.8 or newer)"):
        submitted(kfp, "training.pool=gpu")
    assert not any(request.startswith("POST") for request in kfp.requests)


def test_a_run_that_trains_in_its_step_needs_no_trainer(kfp: KfpServer, pods: ClusterServer):
    del pods.objects[TRAINER], pods.objects[f"{TRAINER}/v1alpha1"]
    submitted(kfp)
    assert len(kfp.runs) == 1


def test_a_cluster_that_hides_its_pools_is_taken_at_its_word(kfp: KfpServer, pods: ClusterServer):
    pods.forbidden.add("trainingruntimes")
    submitted(kfp, "training.pool=gpu")
    assert len(kfp.runs) == 1


def test_a_cluster_that_is_not_kubeflow_pipelines_own_is_not_asked_for_accounts(kfp: KfpServer, pods: ClusterServer):
    pods.objects.clear()
    submitted(kfp)
    assert len(kfp.runs) == 1


def test_what_may_not_be_looked_at_is_not_refused(kfp: KfpServer, pods: ClusterServer):
    pods.forbidden.add("serviceaccounts")
    submitted(kfp, "cluster.service_account=robot")
    assert len(kfp.runs) == 1


def test_the_servers_refusal_is_told(kfp: KfpServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kfp, "experiments", [{"experiment_id": "1", "display_name": "gristmill", "namespace": ""}] * 2)
    with pytest.raises(Refused, match="Multiple experiments is found with name gristmill"):
        submitted(kfp)


def test_an_answer_that_is_lost_says_that_the_run_may_have_begun(
    kfp: KfpServer, api: KfpApi, monkeypatch: pytest.MonkeyPatch
):
    def away(body):
        kfp.delay_seconds = 0.0
        raise ConnectionResetError

    monkeypatch.setattr(kfp, "_create_run", away)
    with pytest.raises(
        Unreachable, match=rf"does not answer(.*\n)*.*may have begun nevertheless: gristmill status {NAME}"
    ):
        submitted(kfp)


def test_the_run_is_waited_for_although_the_server_goes_away_just_after_it_was_made(
    kfp: KfpServer, monkeypatch: pytest.MonkeyPatch
):
    create = kfp._create_run

    def then_away(body):
        answer = create(body)
        monkeypatch.setattr(kfp, "_list_runs", lambda query: 1 / 0)
        return answer

    monkeypatch.setattr(kfp, "_create_run", then_away)
    assert uuid.UUID(submitted(kfp).id)
