"""A store that is renamed, copied or mounted elsewhere is whole, and a copy never reads the original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llm.config import RunConfig, compose, to_yaml
from llm.errors import UserError
from llm.runs import RunFolder
from llm.storage import Manifest, Recipe, Store
from tests.cases.storage import RECIPE, make


def family(store: Store) -> Manifest:
    """A product that was made from another."""
    with store.stage("shards", Recipe("tokenize", {"n": 1}, [make(store)])) as stage:
        (stage.path / "tokens.bin").write_text("1 2 3")
        return stage.commit()


def texts(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.json"))


def as_written_before(store: Store, *others: Path) -> None:
    """Rewrite every document below the store with the whole addresses of earlier versions."""
    root = store.objects.uri
    for path in [*store.root.rglob("*.json"), *others]:
        document = json.loads(path.read_text())
        if "uri" not in document:
            continue  # what a recipe is made of, without an address
        document.pop("store", None)
        document["uri"] = f"{root}/{document['uri']}"
        for parent in document["parents"]:
            parent["uri"] = f"{root}/{parent['uri']}"
        path.write_text(json.dumps(document))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a store and the folder of a run, moved nowhere yet."""
    project = tmp_path / "project"
    made = family(Store(project / "store"))
    RunFolder(project / "runs" / "one").keep("tokenize", made)
    return project


def found(project: Path) -> Manifest:
    """The child as it is found by the run's folder."""
    return RunFolder(project / "runs" / "one").manifest("tokenize")


def test_no_document_names_the_place_of_the_store(project: Path):
    assert str(project) not in texts(project)


def test_a_renamed_project_finds_its_products_and_their_parents(project: Path):
    before = found(project)
    moved = project.rename(project.with_name("moved"))
    store = Store(moved / "store")
    parent = store.find(RECIPE)
    assert parent is not None
    again = store.find(Recipe("tokenize", {"n": 1}, [parent]))
    assert again == found(moved)
    assert again.id == before.id
    assert again.verify() == moved / "store" / "shards" / before.id
    assert Manifest.read_uri(again.parents[0].uri).verify().is_relative_to(moved)


@pytest.mark.parametrize("written_before", [False, True], ids=["now", "by an earlier version"])
def test_a_copy_reads_its_own_files_only(project: Path, written_before: bool):
    if written_before:
        as_written_before(Store(project / "store"))
    copy = shutil.copytree(project, project.with_name("copy"))
    shutil.rmtree(copy / "store" / "shards")
    store = Store(copy / "store")
    parent = store.find(RECIPE)
    assert parent is not None
    assert parent.folder.is_relative_to(copy)
    assert store.find(Recipe("tokenize", {"n": 1}, [parent])) is None


def test_a_run_folder_of_a_copy_does_not_fall_back_on_the_original(project: Path):
    copy = shutil.copytree(project, project.with_name("copy"))
    shutil.rmtree(copy / "store" / "shards")
    assert found(copy).folder.is_relative_to(copy)
    with pytest.raises(UserError, match=r"tokens.bin of shards \w+ is missing"):
        found(copy).verify()


def test_a_store_of_an_earlier_version_is_read_where_it_is_and_after_a_move(project: Path):
    as_written_before(Store(project / "store"), project / "runs" / "one" / "manifests" / "tokenize.json")
    assert found(project).verify().is_relative_to(project)
    moved = project.rename(project.with_name("moved"))
    store = Store(moved / "store")
    assert store.find(RECIPE) == make(store)
    manifest = RunFolder(moved / "runs" / "one").manifest("tokenize", store.objects.uri)
    assert manifest.verify().is_relative_to(moved)


@pytest.mark.parametrize("linked", [False, True], ids=["runs are a folder", "runs are a link"])
def test_a_run_of_an_earlier_version_finds_its_products_after_a_move(project: Path, linked: bool):
    run = project / "runs" / "one"
    as_written_before(Store(project / "store"), run / "manifests" / "tokenize.json")
    RunFolder(run).write_config(to_yaml(RunConfig()))
    if linked:
        (project / "runs").rename(project.with_name("disk"))
        (project / "runs").symlink_to(project.with_name("disk"))
    moved = project.rename(project.with_name("moved"))
    assert found(moved).verify().is_relative_to(moved)
    assert Manifest.read_uri(found(moved).parents[0].uri).verify().is_relative_to(moved)


def test_a_copy_of_a_run_of_an_earlier_version_reads_its_own_files(project: Path):
    run = RunFolder(project / "runs" / "one")
    as_written_before(Store(project / "store"), run.manifest_path("tokenize"))
    run.write_config(to_yaml(RunConfig()))
    copy = shutil.copytree(project, project.with_name("copy"))
    assert found(copy).verify().is_relative_to(copy)


def test_the_store_that_a_manifest_names_comes_before_that_of_the_configuration(project: Path):
    other = shutil.copytree(project / "store", project.with_name("other"))
    RunFolder(project / "runs" / "one").write_config(to_yaml(compose([f"storage.uri={other}"])))
    assert found(project).folder.is_relative_to(project)


def test_a_store_that_is_mounted_elsewhere_is_taken_from_the_configuration(tmp_path: Path):
    made = family(Store(tmp_path / "mount" / "store"))
    run = RunFolder(tmp_path / "project" / "runs" / "one")
    run.keep("tokenize", made)
    assert run.manifest("tokenize") == made
    (tmp_path / "mount").rename(tmp_path / "other")
    store = Store(tmp_path / "other" / "store")
    assert run.manifest("tokenize", store.objects.uri).verify().is_relative_to(tmp_path / "other")


def test_a_manifest_without_its_store_says_what_to_set(tmp_path: Path):
    family(Store(tmp_path / "store")).write(tmp_path / "alone.json")
    with pytest.raises(UserError, match=r"the store of shards \w+ is not known\n  Name it with storage.uri"):
        Manifest.read(tmp_path / "alone.json").verify()


def test_a_bucket_holds_no_address_of_its_own_and_can_be_copied(s3: str):
    made = family(Store(s3))
    original = Store(s3).objects
    copy = Store("s3://bucket/copy")
    for name in original.names():
        content = original.read(name)
        assert content is not None
        assert b"s3://" not in content
        copy.objects.write(name, content)
    original.remove("")
    parent = copy.find(RECIPE)
    assert parent is not None
    assert parent.uri == f"s3://bucket/copy/corpus/{parent.id}"
    assert copy.find(Recipe("tokenize", {"n": 1}, [parent])) == made.at("s3://bucket/copy")


def test_an_outcome_that_is_in_no_store_holds_the_addresses_of_its_parents_in_theirs(tmp_path: Path):
    made = family(Store(tmp_path / "project" / "store"))
    run = RunFolder(tmp_path / "project" / "runs" / "one")
    version = Manifest(kind="registration", id="1" * 16, uri="models:/m/1", files=(), parents=(made.as_parent(),))
    run.keep("register", version)
    assert str(tmp_path) not in run.manifest_path("register").read_text()
    assert run.manifest("register") == version
    (tmp_path / "project").rename(tmp_path / "moved")
    (parent,) = RunFolder(tmp_path / "moved" / "runs" / "one").manifest("register").parents
    assert Manifest.read_uri(parent.uri).verify().is_relative_to(tmp_path / "moved")


def test_a_parent_in_another_store_stays_there(tmp_path: Path):
    rival = make(Store(tmp_path / "other"))
    recipe = Recipe("gate", {}, [make(Store(tmp_path / "store")), rival])
    with Store(tmp_path / "store").stage("gate", recipe) as stage:
        made = stage.commit()
    again = Store(tmp_path / "store").find(recipe)
    assert again is not None
    assert again.parents == made.parents
    assert again.parents[1].uri == rival.uri
