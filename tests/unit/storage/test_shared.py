"""A store that several people share, and one product that two processes make in the same moment."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm.errors import UserError
from llm.storage import LocalObjects, Recipe, Store, only_process_in, write_atomically
from llm.storage import store as store_module

GROUP, FIRST, SECOND = 7_000, 7_001, 7_002
RECIPE = Recipe("ingest", {"x": 1})
TRAINING = Recipe("training", {"x": 1})


@pytest.fixture
def shared() -> Iterator[Path]:
    """A setgid folder of a group, where all the way up may be seen by everybody."""
    if os.geteuid() != 0:
        pytest.skip("to act as two users of a group needs root")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    home = folder / "group"
    home.mkdir()
    os.chown(home, FIRST, GROUP)
    home.chmod(0o2775)
    yield home
    shutil.rmtree(folder)


def as_user(user: int, umask: int, work: Callable[[], Any]) -> str:
    """What work returns, or how it is refused, when it is done by a user of the group."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([GROUP])
            os.setgid(GROUP)
            os.setuid(user)
            os.umask(umask)
            answer = str(work())
        except UserError as error:
            answer = f"refused: {error}"
        except BaseException as error:  # noqa: BLE001 - the test shows it
            answer = f"{type(error).__name__}: {error}"
        os.write(sender, answer.encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def make(store: Store, recipe: Recipe = RECIPE) -> str:
    with store.stage("corpus", recipe) as stage:
        (stage.path / "sub").mkdir()
        (stage.path / "sub" / "text").write_text(str(recipe.config))
        return stage.commit().id


def train(store: Store) -> str:
    folder = store.working_folder(TRAINING)
    with only_process_in(folder):
        (folder / "plan.json").touch()
        return "trained"


@pytest.mark.parametrize("work", [make, train], ids=["product", "training"])
def test_a_second_user_of_the_group_does_the_same_work(shared: Path, work: Callable[[Store], str]):
    store = Store(shared / "store")
    first = as_user(FIRST, 0o002, lambda: work(store))
    assert "Error" not in first
    assert as_user(SECOND, 0o002, lambda: work(store)) == first
    assert as_user(SECOND, 0o002, lambda: make(store, Recipe("ingest", {"x": 2}))).isalnum()
    assert as_user(SECOND, 0o002, store.check_access) == "[]"


def test_what_the_first_user_made_is_the_groups(shared: Path):
    store = Store(shared / "store")
    as_user(FIRST, 0o002, lambda: (make(store), train(store)))
    for path in [shared / "store", *(shared / "store").rglob("*")]:
        status = path.stat()
        assert status.st_gid == GROUP, path
        assert status.st_mode & 0o777 == (0o775 if path.is_dir() else 0o664), path


def test_a_lock_needs_no_right_to_write(shared: Path):
    folder = shared / "training"
    as_user(FIRST, 0o022, lambda: write_atomically(folder / ".lock", "1\n"))
    assert as_user(FIRST, 0o022, lambda: oct((folder / ".lock").stat().st_mode & 0o777)) == "0o644"

    def hold() -> str:
        with only_process_in(folder):
            return "held"

    assert as_user(SECOND, 0o022, hold) == "held"


def test_a_store_that_only_its_maker_may_use_says_whose_it_is(shared: Path):
    store = Store(shared / "store")
    assert as_user(FIRST, 0o077, lambda: make(store)).isalnum()
    for work in (lambda: store.find(RECIPE), lambda: make(store), store.check_access, lambda: train(store)):
        told = as_user(SECOND, 0o002, work)
        assert told.startswith("refused: "), told
        assert "umask 002" in told or "where you may write" in told


def test_a_store_that_may_only_be_read_gives_its_products(shared: Path):
    store = Store(shared / "store")
    made = as_user(FIRST, 0o022, lambda: make(store))
    assert as_user(SECOND, 0o022, lambda: store.find(RECIPE).verify().name) == made  # type: ignore[union-attr]
    told = as_user(SECOND, 0o022, store.check_access)
    assert told.startswith(f"refused: {store.root}/.access-")
    assert f"belongs to user {FIRST}, with mode" in told


def _make_at_once(root: Path, barrier: Any, answers: Any) -> None:
    real = os.rename

    def rename(source: Any, target: Any) -> None:
        barrier.wait(30)  # both have built their own, and neither has placed it
        real(source, target)

    store_module.os.rename = rename  # type: ignore[assignment]
    try:
        answers.put(make(Store(root)))
    except BaseException as error:  # noqa: BLE001 - the test shows it
        answers.put(f"{type(error).__name__}: {error}")


def test_the_loser_of_a_race_to_one_product_takes_the_winners(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    makers = [context.Process(target=_make_at_once, args=(tmp_path, barrier, answers)) for _ in range(2)]
    for maker in makers:
        maker.start()
    first, second = answers.get(timeout=60), answers.get(timeout=60)
    for maker in makers:
        maker.join(60)
    assert first == second
    assert first.isalnum()
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == [first]


def test_a_file_from_another_disk_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "made"
    source.write_text("hello")
    real = os.replace

    def replace(path: Any, target: Any) -> None:
        if Path(path) == source:
            raise OSError(18, "Invalid cross-device link")
        real(path, target)

    monkeypatch.setattr("llm.storage.local._is_another_disk", lambda *_: True)
    monkeypatch.setattr(os, "replace", replace)
    objects = LocalObjects(tmp_path / "store")
    entry = objects.put(source, "a/b")
    assert objects.problem(entry) is None
    assert objects.names() == ["a/b"]
    assert not source.exists()
