"""Products appear whole under their content's address, and are found again by their recipe."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm.errors import UserError
from llm.storage import Manifest, Recipe, Store
from llm.storage import store as store_module
from llm.storage.products import Counts
from llm.storage.store import ABANDONED_AFTER_SECONDS
from tests.cases.storage import one_document


def make(store: Store, recipe: Recipe, text: str = "hello", counts: Counts | None = None) -> Manifest:
    with store.stage("corpus", recipe) as stage:
        (stage.path / "text.txt").write_text(text)
        return stage.commit(counts)


def test_a_product_is_found_again_by_its_recipe(store: Store):
    recipe = Recipe("ingest", {"path": "x"})
    assert store.find(recipe) is None
    made = make(store, recipe)
    assert store.find(recipe) == made
    assert store.found == {made.id}


@pytest.mark.parametrize(
    "other",
    [
        Recipe("validate", {"path": "x"}, inputs={"file": "1"}),
        Recipe("ingest", {"path": "y"}, inputs={"file": "1"}),
        Recipe("ingest", {"path": "x"}, inputs={"file": "2"}),
        Recipe("ingest", {"path": "x"}, inputs={"file": "1"}, code=("llm.model.size",)),
    ],
    ids=["step", "config", "inputs", "code"],
)
def test_whatever_decides_the_result_changes_the_recipe(store: Store, other: Recipe):
    make(store, Recipe("ingest", {"path": "x"}, inputs={"file": "1"}))
    assert store.find(other) is None


def test_another_parent_changes_the_recipe(store: Store):
    first = make(store, Recipe("ingest", {"path": "x"}))
    second = make(store, Recipe("ingest", {"path": "y"}))
    assert Recipe("tokenize", {}, [first]).key != Recipe("tokenize", {}, [second]).key


def test_equal_work_gives_an_equal_address_anywhere(tmp_path: Path):
    one = make(Store(tmp_path / "one"), Recipe("ingest", {"path": "x"}))
    two = make(Store(tmp_path / "two"), Recipe("ingest", {"path": "x"}))
    assert one.id == two.id


@pytest.mark.parametrize(("text", "counts"), [("jello", None), ("hello", one_document())])
def test_another_content_gives_another_address(store: Store, text: str, counts: Counts | None):
    recipe = Recipe("ingest", {})
    assert make(store, recipe).id != make(store, recipe, text, counts).id


def test_a_failure_while_building_leaves_nothing(store: Store):
    recipe = Recipe("ingest", {})
    with contextlib.suppress(RuntimeError), store.stage("corpus", recipe) as stage:
        (stage.path / "half").write_text("half")
        raise RuntimeError
    assert list((store.root / "corpus").iterdir()) == []
    assert store.find(recipe) is None


def test_a_full_disk_that_a_library_only_puts_into_words_is_recognised(store: Store):
    with pytest.raises(UserError, match="the disk is full"), store.stage("corpus", Recipe("ingest", {})):
        raise RuntimeError("ComputeError: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="boom"), store.stage("corpus", Recipe("ingest", {})):
        raise RuntimeError("boom")


@pytest.mark.parametrize("uri", ["file://store", "file://tmp/x"])
def test_a_uri_with_two_slashes_is_not_taken_for_a_path(uri: str):
    with pytest.raises(UserError, match="three slashes"):
        Store(uri)


def test_a_full_disk_is_named_with_the_remedy(store: Store):
    with pytest.raises(UserError, match=r"(?s)the disk is full.*\d [KMGT]iB can still be written.*set storage.uri"):  # noqa: SIM117
        with store.stage("corpus", Recipe("ingest", {})):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_product_whose_manifest_is_gone_does_not_exist(store: Store):
    recipe = Recipe("ingest", {})
    made = make(store, recipe)
    (made.folder / "manifest.json").unlink()
    assert store.find(recipe) is None


def test_a_damaged_product_is_replaced_when_it_is_made_again(store: Store):
    recipe = Recipe("ingest", {})
    made = make(store, recipe)
    (made.folder / "text.txt").write_text("broken")
    again = make(store, recipe)
    assert again == made
    assert again.verify() == made.folder


def test_a_damaged_product_that_another_maker_has_just_taken_away_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    made = make(store, Recipe("ingest", {}))
    (made.folder / "text.txt").write_text("broken")
    look = store_module._is_whole

    def look_and_lose(manifest: Manifest) -> bool:
        whole = look(manifest)
        shutil.rmtree(manifest.folder)
        return whole

    monkeypatch.setattr(store_module, "_is_whole", look_and_lose)
    assert make(store, Recipe("ingest", {})).verify() == made.folder
    assert [path.name for path in made.folder.parent.iterdir()] == [made.id]


def test_makers_at_the_same_time_all_get_a_whole_product_in_place_of_a_damaged_one(store: Store):
    made = make(store, Recipe("ingest", {}))
    makers = 4
    start = threading.Barrier(makers)

    def maker() -> Path:
        start.wait(30)
        return make(Store(store.root), Recipe("ingest", {})).verify()

    with ThreadPoolExecutor(makers) as pool:
        for _ in range(10):
            (made.folder / "text.txt").write_text("broken")
            homes = [future.result(30) for future in [pool.submit(maker) for _ in range(makers)]]
            assert homes == [made.folder] * makers
    assert [path.name for path in made.folder.parent.iterdir()] == [made.id]


def test_what_a_killed_process_left_half_built_is_removed_by_the_next(store: Store):
    script = (
        "import os, sys; from llm.storage import Recipe, Store\n"
        "with Store(sys.argv[1]).stage('corpus', Recipe('ingest', {})) as stage:\n"
        "    (stage.path / 'half').write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(store.root)], check=False)
    (left,) = (store.root / "corpus").iterdir()
    os.utime(left, (0, left.stat().st_mtime - 2 * ABANDONED_AFTER_SECONDS))
    made = make(store, Recipe("ingest", {}))
    assert [path.name for path in (store.root / "corpus").iterdir()] == [made.id]


def test_a_folder_that_another_process_is_building_stays(store: Store):
    with store.stage("corpus", Recipe("ingest", {})) as stage:
        os.utime(stage.path, (0, 0))
        make(store, Recipe("ingest", {"other": 1}))
        assert stage.path.is_dir()
