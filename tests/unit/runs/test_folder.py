from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from llm.config import RunConfig, TrackingConfig, TrainingConfig, to_yaml
from llm.config.sections import RunSection
from llm.runs import RunFolder, all_runs, run_name
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from llm.storage import Recipe, Store, only_process_in


def test_equal_configurations_give_equal_names_and_others_do_not():
    name = run_name("pretrain", RunConfig())
    assert re.fullmatch(r"pretrain-[0-9a-f]{8}", name)
    assert name == run_name("pretrain", RunConfig())
    assert name != run_name("pretrain", RunConfig(training=TrainingConfig(seed=7)))


def test_where_a_run_is_kept_and_told_about_is_not_in_its_name():
    elsewhere = RunConfig(run=RunSection(folder="/other", retrain=True), tracking=TrackingConfig(uri="http://mlflow"))
    assert run_name("pretrain", elsewhere) == run_name("pretrain", RunConfig())


def test_the_configuration_comes_back_as_it_was_written(tmp_path: Path):
    folder = RunFolder(tmp_path / "runs" / "a")
    assert folder.read_config() is None
    folder.write_config(to_yaml(RunConfig()))
    assert folder.read_config() == RunConfig()


@pytest.mark.parametrize(
    "config", [None, "", "[1]", "x", "storage: {uri: [}", "storage: {uri: ~nobody-here/x}", "\xff"]
)
def test_a_configuration_that_cannot_be_read_does_not_hide_the_products(tmp_path: Path, config: str | None):
    folder = RunFolder(tmp_path / "runs" / "a")
    with Store(tmp_path / "store").stage("corpus", Recipe("ingest", {})) as stage:
        made = stage.commit()
    folder.manifest_path("ingest").parent.mkdir(parents=True)
    folder.manifest_path("ingest").write_text(made.model_dump_json())  # as an earlier version wrote it
    if config is not None:
        folder.config.write_bytes(config.encode("latin-1"))
    assert folder.manifest("ingest") == made


def test_manifests_are_found_by_step(tmp_path: Path, store: Store):
    folder = RunFolder(tmp_path / "a")
    assert folder.manifests() == {}
    with store.stage("corpus", Recipe("ingest", {})) as stage:
        made = stage.commit()
    folder.keep("ingest", made)
    assert folder.manifests() == {"ingest": made}


def test_a_folder_is_held_only_while_a_process_works_in_it(tmp_path: Path):
    folder = RunFolder(tmp_path / "a")
    assert not folder.is_held()
    with only_process_in(folder.path):
        assert folder.is_held()
    assert not folder.is_held()


def test_runs_are_listed_with_the_newest_event_first(tmp_path: Path):
    assert all_runs(tmp_path) == []
    for name, when in (("a", 100), ("b", 200)):
        events = RunFolder(tmp_path / name).events
        EventLog(events).emit(Warned(message="x"))
        os.utime(events, (when, when))
    assert [run.name for run in all_runs(tmp_path)] == ["b", "a"]


@pytest.mark.parametrize("path", ["runs/a", "runs/a/../a"])
def test_a_run_knows_its_name_and_the_folder_of_all_runs(tmp_path: Path, path: str):
    folder = RunFolder(tmp_path / path)
    assert (folder.name, folder.runs) == ("a", tmp_path / "runs")
