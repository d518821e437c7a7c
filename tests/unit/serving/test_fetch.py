"""A model repository goes from the store into a folder whole, or not at all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.cli.fetch import command
from llm.config import ServingConfig
from llm.errors import DamagedError, UserError
from llm.runs.events import EventLog
from llm.serving.pod.fetch import bytes_of, fetch_repository
from llm.serving.triton.repository import build
from llm.storage import Manifest, Recipe, Store
from llm.storage.names import give_name


@pytest.fixture
def model(store: Store) -> Manifest:
    with store.stage("model", Recipe("export", {})) as stage:
        (stage.path / "onnx-fp32").mkdir()
        (stage.path / "onnx-fp32" / "model.onnx").write_text("graph")
        return stage.commit()


@pytest.fixture
def repository(model: Manifest, store: Store, log: EventLog) -> Manifest:
    return build(ServingConfig(), model, 3, store, log)


def test_a_repository_is_fetched_by_the_name_that_its_run_gave_it(
    repository: Manifest, store: Store, tmp_path: Path
) -> None:
    name = give_name(store.objects, "repository", repository.id, "one")
    assert fetch_repository(f"{store.objects.uri}/names/{name}", tmp_path / "served").id == repository.id
    with pytest.raises(UserError, match=r"there is no repository named one@2 in .*\n  There are: one@1\."):
        fetch_repository(f"{store.objects.uri}/names/repository/one@2", tmp_path / "other")


def test_a_fetched_folder_is_the_product_again(repository: Manifest, tmp_path: Path) -> None:
    told: list[str] = []
    fetched = fetch_repository(repository.uri + "/", tmp_path / "served", progress=told.append)
    assert fetched == repository
    assert Manifest.read(tmp_path / "served" / "manifest.json").id == repository.id
    assert repository.model_copy(update={"uri": (tmp_path / "served").as_uri()}).verify() == tmp_path / "served"
    assert re.match(r"fetching 4 files, [\d.]+ KiB, of file://", told[0])


def test_a_product_that_was_moved_is_read_where_it_lies_now(repository: Manifest, tmp_path: Path) -> None:
    moved = shutil.move(repository.folder, tmp_path / "moved")
    fetch_repository(Path(moved).as_uri(), tmp_path / "served")
    assert (tmp_path / "served" / "gristmill" / "3" / "onnx" / "model.onnx").read_text() == "graph"


def test_an_attempt_that_was_cut_short_goes_on(repository: Manifest, tmp_path: Path) -> None:
    served = tmp_path / "served"
    fetch_repository(repository.uri, served)
    (served / "manifest.json").unlink()
    (served / "gristmill" / "3" / "model.py").write_text("half")
    (served / "gristmill" / "3" / ".model.py.x").write_text("what a download left")
    assert fetch_repository(repository.uri, served) == repository
    assert "half" not in (served / "gristmill" / "3" / "model.py").read_text()


def test_a_damaged_file_is_refused_by_name_and_no_manifest_is_written(repository: Manifest, tmp_path: Path) -> None:
    (repository.folder / "gristmill" / "3" / "onnx" / "model.onnx").write_text("hparg")
    with pytest.raises(
        DamagedError,
        match=rf"gristmill/3/onnx/model\.onnx of repository {repository.id}: .*not what was written\n.*`deploy` again",
    ):
        fetch_repository(repository.uri, tmp_path / "served")
    assert not (tmp_path / "served" / "manifest.json").exists()


def test_a_manifest_that_was_changed_is_refused(repository: Manifest, tmp_path: Path) -> None:
    changed = repository.model_copy(update={"counts": {**repository.counts, "version": 4}})
    changed.write(repository.folder / "manifest.json")
    with pytest.raises(DamagedError, match=rf"does not give the id {repository.id}"):
        fetch_repository(repository.uri, tmp_path / "served")


def test_another_kind_of_product_is_refused(model: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a model, and Triton serves a repository\n.*deploy"):
        fetch_repository(model.uri, tmp_path / "served")


def test_nothing_at_the_address_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no product at file:///.*/nothing"):
        fetch_repository((tmp_path / "nothing").as_uri(), tmp_path / "served")


def test_a_folder_with_other_things_is_left_alone(repository: Manifest, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(UserError, match="holds other things already: mine"):
        fetch_repository(repository.uri, tmp_path / "full")


def test_a_repository_that_is_too_large_for_its_volume_is_refused_with_both_sizes(
    repository: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has [\d.]+ KiB, and its volume 1\n.*model\.volumeSize"):
        fetch_repository(repository.uri, tmp_path, limit="1")


@pytest.mark.parametrize(
    ("text", "number"), [("2Gi", 2 << 30), ("1.5Mi", 1.5 * 2**20), ("3G", 3e9), ("7k", 7e3), ("10", 10)]
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, number: float) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "two", "2 Gi", "2iG", "2ki"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not an amount of storage"):
        bytes_of(text)


def test_sigterm_ends_the_command_at_once_though_a_file_is_on_its_way(repository: Manifest, tmp_path: Path) -> None:
    call = (
        "import time, llm.serving.pod.fetch as f; f._fetch = lambda *_: time.sleep(600)\n"
        "from llm.cli import main; main()"
    )
    command = [sys.executable, "-c", call, "fetch", repository.uri, str(tmp_path / "served")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("fetching")
        process.terminate()
        assert process.wait(60) == 75


def test_the_command_says_what_it_fetched(repository: Manifest, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [repository.uri, str(tmp_path / "served"), "--limit", "2Gi"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'served'}: version 3 of model gristmill, repository {repository.id}\n"
