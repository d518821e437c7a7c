"""One process at a time in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm.errors import BusyError, UserError
from llm.storage import Store, only_process_in
from llm.storage.lock import is_held


def test_a_second_process_is_refused_and_the_holder_named(tmp_path: Path):
    with only_process_in(tmp_path):
        script = (
            "import sys; from pathlib import Path; from llm.storage import only_process_in\n"
            "with only_process_in(Path(sys.argv[1])): pass"
        )
        second = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert second.returncode != 0
    assert f"another run works in {tmp_path} (process {os.getpid()})" in second.stderr


def test_the_folder_is_free_again_afterwards(tmp_path: Path):
    with only_process_in(tmp_path):
        pass
    with only_process_in(tmp_path):
        pass


def test_the_lock_is_not_reentrant(tmp_path: Path):
    with only_process_in(tmp_path), pytest.raises(BusyError, match=r"run\.name"), only_process_in(tmp_path):
        pass


@pytest.mark.parametrize("named", ["locks", "./~/locks", "../locks"])
def test_a_folder_for_locks_that_depends_on_the_working_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRISTMILL_LOCKS", named)
    for work in (lambda: only_process_in(tmp_path).__enter__(), lambda: is_held(tmp_path), Store("s").check_access):
        with pytest.raises(UserError, match=rf"GRISTMILL_LOCKS={named} is not a whole path\n.*each other's locks"):
            work()
    assert not (tmp_path / named).exists()


def test_a_folder_for_locks_in_the_home_is_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRISTMILL_LOCKS", "~/locks")
    with only_process_in(tmp_path / "run"):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert is_held(tmp_path / "run")
    assert len(list((tmp_path / "home" / "locks").iterdir())) == 1


def test_checks_of_a_store_leave_one_file_in_the_folder_for_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_LOCKS", str(tmp_path / "locks"))
    for _ in range(3):
        assert Store(tmp_path / "store").check_access() == []
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["check.lock"]
