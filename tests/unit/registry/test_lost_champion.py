"""A champion that was deleted in MLflow does not open the gate to whoever holds the floors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from llm.cli.rollback import command
from llm.config import RunConfig, TrackingConfig, to_yaml
from llm.config.sections import RunSection
from llm.errors import UserError
from llm.registry import champion, forget_champion, promote, register, rollback
from llm.registry.lost_champion import LAST_CHAMPION
from llm.runs import RunFolder
from llm.storage import Manifest, Recipe, Store
from llm.tracking.mlflow_server import connection

LOCAL = TrackingConfig()
KINDS = {"train": "checkpoint", "evaluate": "evaluation", "export": "model"}
Candidate = Callable[[int, str | None], int]
FORGET = "To start again without a champion: gristmill rollback --no-champion"


@pytest.fixture
def folder(tmp_path: Path, empty_mlflow_database: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "pretrain-1")
    folder.runs.mkdir()
    shutil.copy(empty_mlflow_database, folder.runs / "mlflow.db")
    folder.write_config(to_yaml(RunConfig()))
    return folder


@pytest.fixture
def run(folder: RunFolder) -> RunSection:
    return RunSection(folder=str(folder.runs))


@pytest.fixture
def client(folder: RunFolder) -> Iterator[MlflowClient]:
    with connection(LOCAL, folder.runs) as client:
        yield client


@pytest.fixture
def candidate(folder: RunFolder, store: Store) -> Candidate:
    """Registers the model of that number, and promotes it if it passed against a champion ("": a first one)."""

    def one(number: int, judged_against: str | None = None) -> int:
        manifests: dict[str, Manifest] = {}
        for step, kind in KINDS.items():
            with store.stage(kind, Recipe(step, {"number": number})) as stage:
                (stage.path / "content.txt").write_text(f"{step} {number}")
                manifests[step] = stage.commit()
        version = register(LOCAL, folder, manifests).version
        if judged_against is not None:
            promote(LOCAL, folder, version, "PASS", judged_against or None)
        return version

    return one


@pytest.fixture
def asked(run: RunSection, store: Store) -> Callable[[], str | None]:
    """The version that the gate would compare with."""

    def ask() -> str | None:
        found = champion(LOCAL, run, store)
        return None if found is None else found.version

    return ask


def before_the_tag(client: MlflowClient) -> None:
    """A registry as an earlier version of Gristmill left it."""
    client.delete_registered_model_tag("gristmill", LAST_CHAMPION)


def test_a_deleted_champion_is_missed_before_the_next_candidate_is_judged(candidate, client, asked):
    candidate(1, "")
    candidate(2)
    client.delete_model_version("gristmill", "1")
    with pytest.raises(UserError, match=r"gristmill has lost its champion in MLflow: version 1 was the champion") as no:
        asked()
    assert "Without a champion every candidate within the floors would pass" in str(no.value)
    assert FORGET in str(no.value)
    candidate(3)  # registering does not forget it either
    with pytest.raises(UserError, match="version 1 was the champion"):
        asked()


def test_a_champion_without_its_alias_is_missed_and_is_champion_again_with_it(candidate, client, asked):
    candidate(1, "")
    client.delete_registered_model_alias("gristmill", "champion")
    with pytest.raises(UserError, match="Give a version the alias champion in MLflow"):
        asked()
    client.set_registered_model_alias("gristmill", "champion", "1")
    assert asked() == "1"


def test_rollback_leads_back_from_a_deleted_champion(candidate, client, asked, run):
    candidate(1, "")
    candidate(2, "1")
    client.delete_model_version("gristmill", "2")
    with pytest.raises(UserError, match=r"version 2 was the champion\n.*\n.*`gristmill rollback` makes version 1 the"):
        asked()
    assert rollback(LOCAL, run) == 1
    assert asked() == "1"
    client.delete_model_version("gristmill", "1")
    with pytest.raises(UserError, match="version 1 was the champion"):
        asked()


def test_starting_again_without_a_champion_has_to_be_said(candidate, client, asked, run):
    candidate(1, "")
    candidate(2)
    client.delete_model_version("gristmill", "1")
    assert forget_champion(LOCAL, run) == 1
    assert asked() is None
    assert candidate(3, "") == 3
    assert asked() == "3"


def test_the_command_says_what_was_champion(candidate, client, run):
    candidate(1, "")
    told = CliRunner().invoke(command, ["--no-champion", f"run.folder={run.folder}"])
    assert (
        told.output
        == "gristmill has no champion now; it was version 1. The next candidate is held against the floors.\n"
    )
    assert client.get_registered_model("gristmill").aliases == {}
    assert client.get_model_version("gristmill", "1").status == "READY"


def test_without_a_registered_model_there_is_nothing_to_forget(folder, run, tmp_path):
    for section in (run, RunSection(folder=str(tmp_path / "nowhere"))):
        with pytest.raises(UserError, match="there is no registered model gristmill in MLflow"):
            forget_champion(LOCAL, section)


def test_a_candidate_that_passed_the_floors_is_not_promoted_over_a_lost_champion(candidate, client, folder):
    candidate(1, "")
    second = candidate(2)
    client.delete_model_version("gristmill", "1")
    with pytest.raises(UserError, match="has lost its champion"):
        promote(LOCAL, folder, second, "PASS", None)


def test_candidates_that_failed_may_be_deleted_while_there_never_was_a_champion(candidate, client, asked):
    candidate(1)
    candidate(2)
    client.delete_model_version("gristmill", "1")
    assert asked() is None


def test_a_deleted_registered_model_leaves_no_trace(candidate, client, asked):
    candidate(1, "")
    client.delete_registered_model("gristmill")
    assert asked() is None


def test_a_champion_that_was_chosen_by_hand_is_the_one_that_is_missed(candidate, client, asked):
    candidate(1, "")
    candidate(2)
    client.set_registered_model_alias("gristmill", "champion", "2")
    assert asked() == "2"
    candidate(3)
    client.delete_model_version("gristmill", "2")
    with pytest.raises(UserError, match="version 2 was the champion"):
        asked()


@pytest.mark.filterwarnings("ignore:.*stages.*:FutureWarning")
def test_an_archived_champion_stays_the_champion(candidate, client, asked):
    candidate(1, "")
    client.transition_model_version_stage("gristmill", "1", "Archived")
    assert asked() == "1"


@pytest.mark.parametrize(
    ("promoted", "deleted", "trace"),
    [
        ([1], 1, "version 1 was deleted, and may have been the champion"),
        ([1, 2], 2, "version 1 has the alias previous, so another one was the champion after it"),
    ],
)
def test_a_registry_of_an_earlier_version_shows_it_too(candidate, client, asked, promoted, deleted, trace):
    for number in promoted:
        candidate(number, "" if number == 1 else str(number - 1))
    if deleted == 1:
        candidate(2)
    before_the_tag(client)
    client.delete_model_version("gristmill", str(deleted))
    with pytest.raises(UserError, match=trace):
        asked()


def test_a_registry_of_an_earlier_version_remembers_its_champion_from_the_next_registration_on(
    candidate, client, asked
):
    candidate(1, "")
    before_the_tag(client)
    assert asked() == "1"
    candidate(2)
    assert client.get_registered_model("gristmill").tags[LAST_CHAMPION] == "1"
