"""What somebody deleted in MLflow: a run is told again under another id, an experiment is refused with the way back."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llm.config import TrackingConfig
from llm.errors import UserError
from llm.runs import RunFolder
from llm.runs.event_kinds import TrainStep
from llm.runs.events import EventLog
from llm.tracking.mlflow_check import check_mlflow
from llm.tracking.mlflow_database import database
from llm.tracking.mlflow_sink import deliver, finish

LOCAL = TrackingConfig()
DELETED = r"the experiment gristmill in MLflow at sqlite:///.*/mlflow.db was deleted, and MLflow takes nothing for it"
RESTORE = r"Bring it back: MLFLOW_TRACKING_URI=sqlite:///.*/mlflow.db mlflow experiments restore --experiment-id 1\n"


@pytest.fixture
def client(run_folder: RunFolder) -> MlflowClient:
    """MLflow, which has the run already."""
    assert deliver(run_folder, LOCAL).error is None
    return MlflowClient(f"sqlite:///{database(run_folder.runs)}")


def runs_of(client: MlflowClient) -> list[str]:
    experiment = client.get_experiment_by_name("gristmill")
    assert experiment is not None
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id])]


def test_a_deleted_run_is_told_again_from_the_beginning_as_another(run_folder: RunFolder, client: MlflowClient):
    (before,) = runs_of(client)
    client.delete_run(before)
    EventLog(run_folder.events).emit(TrainStep(step=11, steps=11, loss=3.5))
    assert (deliver(run_folder, LOCAL).sent, finish(run_folder, LOCAL, 0).error) == (21, None)
    (after,) = runs_of(client)
    assert after != before
    assert [point.step for point in client.get_metric_history(after, "train/loss")] == list(range(1, 12))
    assert client.get_run(after).data.params["training.batch.micro_batch_size"]
    assert client.get_run(after).info.status == "FINISHED"


def test_a_deleted_experiment_is_refused_until_it_is_back(run_folder: RunFolder, client: MlflowClient):
    client.delete_experiment("1")
    EventLog(run_folder.events).emit(TrainStep(step=11, steps=11, loss=3.5))
    delivery = deliver(run_folder, LOCAL)
    assert (delivery.sent, delivery.pending) == (0, 1)
    assert "experiments restore --experiment-id 1" in str(delivery.error)
    client.restore_experiment("1")
    assert deliver(run_folder, LOCAL).error is None
    assert len(runs_of(client)) == 1


def test_a_run_in_a_deleted_experiment_does_not_begin(run_folder: RunFolder, client: MlflowClient):
    assert check_mlflow(LOCAL, run_folder.runs) == []
    client.delete_experiment("1")
    with pytest.raises(UserError, match=rf"{DELETED}\n  {RESTORE}  Or choose another one with tracking.experiment="):
        check_mlflow(LOCAL, run_folder.runs)
    named = TrackingConfig(uri=f"sqlite:///{database(run_folder.runs)}")
    with pytest.raises(UserError, match=DELETED):
        check_mlflow(named, Path("elsewhere"))
    assert check_mlflow(TrackingConfig(experiment="another"), run_folder.runs) == []


def test_before_the_first_run_nothing_is_asked_and_nothing_is_made(tmp_path: Path):
    assert check_mlflow(LOCAL, tmp_path / "runs") == []
    assert list(tmp_path.iterdir()) == []
    odd = tmp_path / "what?"
    with pytest.raises(UserError, match=r"MLflow cannot keep its database in .*what\?: it cannot read \? in a path"):
        check_mlflow(LOCAL, odd)


def test_a_server_that_does_not_answer_is_a_warning_before_the_first_step(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
    (warning,) = check_mlflow(TrackingConfig(uri=uri, timeout_seconds=1), tmp_path)
    assert warning == (
        f"MLflow at {uri}: does not answer: Connection refused. The steps gate, register and promote need it"
    )
