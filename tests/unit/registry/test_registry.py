from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.config import RunConfig, TrackingConfig, to_yaml
from llm.config.sections import RunSection
from llm.errors import GateNotPassed, ServiceError, UserError
from llm.registry import ModelVersion, champion, promote, register, rollback
from llm.registry.lost_champion import read_aliases
from llm.runs import RunFolder
from llm.runs.event_kinds import MetricMeasured
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.tracking.mlflow_server import connection

LOCAL = TrackingConfig()
KINDS = {"train": "checkpoint", "evaluate": "evaluation", "export": "model"}
Make = Callable[[int], dict[str, Manifest]]


@pytest.fixture
def folder(tmp_path: Path, empty_mlflow_database: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "pretrain-1")
    folder.runs.mkdir()
    shutil.copy(empty_mlflow_database, folder.runs / "mlflow.db")
    folder.write_config(to_yaml(RunConfig()))
    EventLog(folder.events).emit(MetricMeasured(name="test/bits_per_byte", value=2.1))
    return folder


@pytest.fixture
def run(folder: RunFolder) -> RunSection:
    return RunSection(folder=str(folder.runs))


@pytest.fixture
def make(store: Store) -> Make:
    """The manifests of a run whose products differ by a number."""

    def one(step: str, number: int) -> Manifest:
        with store.stage(KINDS[step], Recipe(step, {"number": number})) as stage:
            (stage.path / "content.txt").write_text(f"{step} {number}")
            return stage.commit()

    return lambda number: {step: one(step, number) for step in KINDS}


def aliases(folder: RunFolder) -> dict[str, int]:
    with connection(LOCAL, folder.runs) as client:
        return dict(read_aliases(client, LOCAL.model).versions)


def crown(folder: RunFolder, manifests: dict[str, Manifest], judged_against: str | None) -> None:
    """Register and promote what a gate passed that saw this champion."""
    promote(LOCAL, folder, register(LOCAL, folder, manifests).version, "PASS", judged_against)


def test_a_version_names_the_products_that_it_was_made_from(folder: RunFolder, make: Make):
    manifests = make(1)
    version = register(LOCAL, folder, manifests)
    assert (version.name, version.version) == ("gristmill", 1)
    with connection(LOCAL, folder.runs) as client:
        registered = client.get_model_version("gristmill", "1")
        run = client.get_run(version.run_id)
    assert registered.source == f"runs:/{version.run_id}/manifests"
    assert registered.tags["gristmill.id.train"] == manifests["train"].id
    assert registered.tags["gristmill.uri.evaluate"] == f"evaluation/{manifests['evaluate'].id}"
    assert registered.tags["gristmill.store"] == "store"
    assert run.data.metrics["test/bits_per_byte"] == 2.1
    assert run.data.params["training.optimizer.lr"] == "0.003"
    kept = next((folder.runs / "mlartifacts").rglob("manifests/export.json"))
    assert json.loads(kept.read_text())["id"] == manifests["export"].id


def test_registering_the_same_model_again_gives_the_same_version(folder: RunFolder, make: Make):
    first = register(LOCAL, folder, make(1))
    assert register(LOCAL, folder, make(1)) == first
    assert register(LOCAL, folder, make(2)) == ModelVersion("gristmill", 2, first.run_id)
    assert aliases(folder) == {"challenger": 2}


def test_a_new_evaluation_of_the_same_model_replaces_the_old_ones_tags(
    folder: RunFolder, make: Make, run: RunSection, store: Store
):
    crown(folder, make(1), None)
    register(LOCAL, folder, {**make(1), "evaluate": make(2)["evaluate"]})
    current = champion(LOCAL, run, store)
    assert current is not None
    assert current.evaluation == make(2)["evaluate"]
    assert aliases(folder) == {"champion": 1}


def test_promotion_keeps_the_old_champion_as_previous(folder: RunFolder, make: Make):
    for number in (1, 2):
        crown(folder, make(number), None if number == 1 else "1")
    assert aliases(folder) == {"champion": 2, "previous": 1}


def test_promoting_the_champion_changes_nothing(folder: RunFolder, make: Make):
    for number in (1, 2):
        crown(folder, make(number), None if number == 1 else "1")
    promote(LOCAL, folder, 2, "PASS", "1")
    assert aliases(folder) == {"champion": 2, "previous": 1}


def test_a_pass_against_one_champion_is_none_against_another(folder: RunFolder, make: Make, run: RunSection):
    crown(folder, make(1), None)
    with pytest.raises(UserError, match="judged against no champion, and version 1 is the champion by now"):
        crown(folder, make(2), None)
    crown(folder, make(2), "1")
    rollback(LOCAL, run)
    with pytest.raises(UserError, match="judged against version 2, and version 1 is the champion by now"):
        crown(folder, make(3), "2")
    assert aliases(folder)["champion"] == 1


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", "pass", ""])
def test_only_pass_leads_to_promotion(folder: RunFolder, make: Make, verdict: str):
    version = register(LOCAL, folder, make(1)).version
    with pytest.raises(GateNotPassed, match="version 1 of gristmill is not promoted: the gate said"):
        promote(LOCAL, folder, version, verdict, None)
    assert aliases(folder) == {"challenger": 1}


def test_the_champion_comes_with_its_products(folder: RunFolder, make: Make, run: RunSection, store: Store):
    assert champion(LOCAL, run, store) is None
    manifests = make(1)
    version = register(LOCAL, folder, manifests)
    assert champion(LOCAL, run, store) is None
    promote(LOCAL, folder, version.version, "PASS", None)
    current = champion(LOCAL, run, store)
    assert current is not None
    assert current.version == "1"
    assert (current.checkpoint, current.evaluation, current.model) == tuple(manifests[step] for step in KINDS)


def test_a_lost_product_of_the_champion_is_named_with_the_way_out(
    folder: RunFolder, make: Make, run: RunSection, store: Store
):
    manifests = make(1)
    crown(folder, manifests, None)
    shutil.rmtree(manifests["train"].folder)
    with pytest.raises(
        UserError, match="the product of step train for champion version 1 of gristmill is gone"
    ) as caught:
        champion(LOCAL, run, store)
    assert manifests["train"].uri in str(caught.value)
    assert "rollback --no-champion" in str(caught.value)


def test_rollback_returns_to_the_previous_champion_once(folder: RunFolder, make: Make, run: RunSection):
    for number in (1, 2):
        crown(folder, make(number), None if number == 1 else "1")
    assert rollback(LOCAL, run) == 1
    assert aliases(folder) == {"champion": 1}
    with pytest.raises(UserError, match=r"no previous champion to go back to\n  The champion is version 1"):
        rollback(LOCAL, run)


def test_without_any_version_there_is_nothing_to_roll_back_to(folder: RunFolder, run: RunSection):
    with pytest.raises(UserError, match="There is no champion either"):
        rollback(LOCAL, run)


def test_before_the_first_registration_there_is_no_champion_and_no_database(tmp_path: Path):
    assert champion(LOCAL, RunSection(folder=str(tmp_path / "runs")), Store(tmp_path / "store")) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_an_exported_model_cannot_be_registered(folder: RunFolder):
    with pytest.raises(UserError, match="no exported model to register"):
        register(LOCAL, folder, {})


def test_a_server_that_is_not_there_fails_the_registration_with_the_reason(
    folder: RunFolder, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr("llm.registry.versions.RETRIES", 0)
    with pytest.raises(ServiceError, match=f"MLflow at {uri}: does not answer: Connection refused"):
        register(TrackingConfig(uri=uri, timeout_seconds=1), folder, make(1))
    with pytest.raises(ServiceError, match="does not answer"):
        champion(TrackingConfig(uri=uri, timeout_seconds=1), RunSection(folder=str(folder.runs)), store)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_look_at_the_champion_makes_no_database(tmp_path: Path, run: RunSection, store: Store, is_empty: bool):
    file = tmp_path / "elsewhere" / "mine.db"
    file.parent.mkdir()
    if is_empty:
        file.touch()
    there = list(file.parent.iterdir())
    config = TrackingConfig(uri=f"sqlite:///{file}")
    assert champion(config, run, store) is None
    with pytest.raises(UserError, match="has no previous champion to go back to"):
        rollback(config, run)
    assert list(file.parent.iterdir()) == there
    assert sum(one.stat().st_size for one in there) == 0
