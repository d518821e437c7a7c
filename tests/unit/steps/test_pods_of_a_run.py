"""The steps of a submitted run are pods that share the store and MLflow: they tell one story."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from llm.config import compose, from_yaml, to_yaml
from llm.runs import last_attempt
from llm.runs.event_kinds import RunStarted, TrainValidation, Versions
from llm.runs.events import EventLog
from llm.runs.origin import KFP_RUN
from llm.steps import STEPS, Context, Given, Step, open_context, report_component, run_component
from llm.storage import Manifest
from llm.tracking.mlflow_sink import deliver

MANIFEST = Manifest(kind="corpus", id="0" * 16, uri="s3://bucket/x", files=())


@pytest.fixture
def database(tmp_path: Path, empty_mlflow_database: Path) -> str:
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def config(s3: str, database: str) -> str:
    settings = [f"storage.uri={s3}", f"run.folder={s3}/runs", "run.name=one", f"tracking.uri={database}"]
    return to_yaml(compose(settings))


@pytest.fixture
def pod(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Does a step in a pod of its own: what it tells MLflow, and the disk that goes with it; a loss of None fails."""
    number = iter(range(100))

    def run(step: str, kfp_run: str, loss: float | None = None, *, loses_its_disk: bool = False) -> None:
        cache = tmp_path / f"pod-{next(number)}"
        monkeypatch.setenv("GRISTMILL_CACHE", str(cache))
        monkeypatch.setenv(KFP_RUN, kfp_run)

        def body(context: Context, given: Given) -> Manifest:
            if loss is None:
                raise RuntimeError("boom")
            context.log.emit(TrainValidation(step=int(10 * loss), loss=loss))
            assert deliver(context.folder, context.config.tracking).error is None
            if loses_its_disk:
                shutil.rmtree(context.folder.tracking)
            return MANIFEST

        if step == "report":
            report_component(config, str(cache / "page.html"))
        else:
            monkeypatch.setitem(STEPS, step, Step(step, (), body))
            run_component(step, config, {}, str(cache / "out"))

    return run


def tracked(database: str) -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("gristmill")
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


@pytest.mark.parametrize("loses_its_disk", [False, True])
def test_three_pods_are_one_run_of_mlflow_with_parameters_and_origin(
    pod: Callable[..., None], database: str, loses_its_disk: bool
):
    pod("train", "a", 3.0, loses_its_disk=loses_its_disk)
    pod("register", "a", 2.0)
    pod("report", "a")
    client, (run,) = tracked(database)
    assert "training.optimizer.lr" in run.data.params
    assert run.data.tags["gristmill.kfp_run"] == "a"
    assert "version.gristmill" in run.data.tags
    assert [point.value for point in client.get_metric_history(run.info.run_id, "validation/loss")] == [3.0, 2.0]
    assert run.info.status == "FINISHED"


def test_each_image_adds_the_versions_that_nobody_told_before(
    pod: Callable[..., None], config: str, database: str, monkeypatch: pytest.MonkeyPatch
):
    for step, found in (
        ("tokenize", {"torch": None, "kfp": "2.17.0"}),
        ("train", {"torch": "2.13.0", "kfp": "2.17.0"}),
        ("evaluate", {"torch": "2.13.0", "kfp": "2.17.1"}),
        ("export", {"torch": None, "kfp": "2.17.0"}),
    ):
        monkeypatch.setattr("llm.steps.components.versions", lambda found=found: found)
        pod(step, "a", 1.0)
    _, (run,) = tracked(database)
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("version.")}
    assert tags == {"version.torch": "2.13.0", "version.kfp": "2.17.0, 2.17.1"}
    events = open_context(from_yaml(config)).folder.events
    assert len(EventLog(events).of_kind(Versions)) == 2
    assert last_attempt(events).versions == {"torch": "2.13.0", "kfp": "2.17.0, 2.17.1"}


def test_a_submission_is_told_by_its_own_steps(pod: Callable[..., None], config: str, database: str):
    with pytest.raises(RuntimeError, match="boom"):
        pod("ingest", "a")
    pod("report", "a")
    _, (run,) = tracked(database)
    assert run.info.status == "FAILED"
    pod("train", "b", 2.0)
    pod("register", "b", 1.0)
    pod("report", "b")
    _, (run,) = tracked(database)
    assert run.info.status == "FINISHED"
    folder = open_context(from_yaml(config)).folder
    attempt = last_attempt(folder.events)
    assert (list(attempt.steps), attempt.failure) == (["train", "register"], None)
    assert len(attempt.of_kind(RunStarted)) == 1
    assert "training:" in (folder.path / "config.yaml").read_text()
