"""The champion of a project that was moved or copied: its own products, its own files in MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llm.config import RunConfig, TrackingConfig, to_yaml
from llm.config.sections import RunSection
from llm.errors import UserError
from llm.registry import champion, promote, register
from llm.runs import RunFolder
from llm.runs.event_kinds import MetricMeasured
from llm.runs.events import EventLog
from llm.storage import Recipe, Store, local_path
from llm.tracking.mlflow_server import connection
from llm.tracking.mlflow_sink import deliver

LOCAL = TrackingConfig()
KINDS = {"train": "checkpoint", "evaluate": "evaluation", "export": "model"}


@pytest.fixture
def project(tmp_path: Path, empty_mlflow_database: Path) -> Path:
    """A project with a run that was delivered, registered and promoted."""
    project = tmp_path / "project"
    (project / "runs" / "one").mkdir(parents=True)
    shutil.copy(empty_mlflow_database, project / "runs" / "mlflow.db")
    return registered(project)


def registered(project: Path) -> Path:
    """The project with its run delivered, registered and promoted."""
    folder = RunFolder(project / "runs" / "one")
    folder.write_config(to_yaml(RunConfig()))
    EventLog(folder.events).emit(MetricMeasured(name="test/bits_per_byte", value=2.1))
    manifests = {}
    for step, kind in KINDS.items():
        with Store(project / "store").stage(kind, Recipe(step, {})) as stage:
            (stage.path / "content.txt").write_text(step)
            manifests[step] = stage.commit()
    folder.report.write_text("report")
    promote(LOCAL, folder, register(LOCAL, folder, manifests).version, "PASS", None)
    return project


def champion_of(project: Path):
    return champion(LOCAL, RunSection(folder=str(project / "runs")), Store(project / "store"))


def artifact_places(project: Path) -> list[str]:
    with connection(LOCAL, project / "runs") as client:
        experiment = client.get_experiment_by_name(LOCAL.experiment)
        runs = client.search_runs([experiment.experiment_id])
    return [experiment.artifact_location, *(run.info.artifact_uri for run in runs)]


def whole_addresses(project: Path) -> None:
    """Give the version the tags of earlier versions."""
    store = Store(project / "store").objects.uri
    with connection(LOCAL, project / "runs") as client:
        for name, value in client.get_model_version(LOCAL.model, "1").tags.items():
            if name.startswith("gristmill.uri."):
                client.set_model_version_tag(LOCAL.model, "1", name, f"{store}/{value}")
        client.delete_model_version_tag(LOCAL.model, "1", "gristmill.store")


@pytest.mark.parametrize("written_before", [False, True], ids=["now", "by an earlier version"])
def test_a_moved_project_has_its_champion(project: Path, written_before: bool):
    if written_before:
        whole_addresses(project)
    moved = project.rename(project.with_name("moved"))
    current = champion_of(moved)
    assert current is not None
    assert all(one.verify().is_relative_to(moved) for one in (current.checkpoint, current.evaluation, current.model))


def test_the_champion_of_a_copy_is_the_copys_own(project: Path):
    copy = shutil.copytree(project, project.with_name("copy"))
    current = champion_of(copy)
    assert current is not None
    assert current.checkpoint.verify().is_relative_to(copy)
    shutil.rmtree(copy / "store" / "checkpoint")
    with pytest.raises(UserError, match="the product of step train for champion version 1 of gristmill is gone"):
        champion_of(copy)


def test_another_store_of_the_same_project_still_has_the_champion(project: Path):
    current = champion(LOCAL, RunSection(folder=str(project / "runs")), Store(project / "store2"))
    assert current is not None
    assert current.checkpoint.verify().is_relative_to(project / "store")


def test_another_store_of_a_project_whose_runs_are_a_link_still_has_the_champion(
    project: Path, tmp_path: Path, empty_mlflow_database: Path
):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "runs").symlink_to(tmp_path / "disk" / "runs")
    (tmp_path / "disk" / "runs" / "one").mkdir(parents=True)
    shutil.copy(empty_mlflow_database, linked / "runs" / "mlflow.db")
    shutil.copytree(project / "store", linked / "store")
    registered(linked)
    current = champion(LOCAL, RunSection(folder=str(linked / "runs")), Store(linked / "store2"))
    assert current is not None
    assert current.checkpoint.verify().is_relative_to(linked / "store")


def test_mlflow_keeps_the_files_of_a_moved_run_beside_its_database(project: Path):
    assert all(place.startswith((project / "runs").as_uri()) for place in artifact_places(project))
    copy = shutil.copytree(project, project.with_name("copy"))
    here = (copy / "runs" / "mlartifacts").as_uri()
    assert artifact_places(copy)[0] == here
    assert all(place.startswith(here) for place in artifact_places(copy))
    assert (local_path(artifact_places(copy)[1]) / "manifests" / "export.json").is_file()
    assert all(place.startswith((project / "runs").as_uri()) for place in artifact_places(project))


def test_a_moved_run_is_not_delivered_again(project: Path):
    moved = project.rename(project.with_name("moved"))
    delivery = deliver(RunFolder(moved / "runs" / "one"), LOCAL)
    assert (delivery.sent, delivery.pending, delivery.error) == (0, 0, None)
    assert len(artifact_places(moved)) == 2
