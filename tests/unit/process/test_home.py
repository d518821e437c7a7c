"""A process without a home or a name gets both for its libraries, and `~` still means neither."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

import pytest

from llm.errors import UserError
from llm.process.home import NAMES, ensure_home, home_folder
from llm.storage import folder_of


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without HOME, name and entry in the password file; temporary files are the test's."""

    def missing(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in NAMES:
        monkeypatch.setenv(name, "x")  # so that it is as before after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("pwd.getpwuid", missing)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("nobody")
def test_nobody_gets_a_folder_and_a_name(tmp_path: Path):
    with pytest.raises(KeyError):
        getpass.getuser()
    ensure_home()
    assert Path.home() == tmp_path / f"gristmill-home-{os.getuid()}"
    assert Path.home().stat().st_mode & 0o777 == 0o700
    assert getpass.getuser() == f"uid{os.getuid()}"


@pytest.mark.usefixtures("nobody")
def test_the_temporary_home_is_not_what_a_tilde_means():
    ensure_home()
    ensure_home()
    assert home_folder() is None
    with pytest.raises(UserError, match="you have no home folder: HOME is not set"):
        folder_of("~/store")


def test_a_home_and_a_name_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "somebody")
    ensure_home()
    assert (os.environ["HOME"], os.environ["USER"]) == (str(tmp_path), "somebody")
