"""What an address means, and what is refused before anything is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.errors import UserError
from llm.storage import Store, cache_folder, folder_of
from llm.storage.uri import local_path

NO_HOME = r"you have no home folder: HOME is not set, and your user id has no entry in the password file"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the password file, as in many pods."""

    def missing(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("HOME", raising=False)
    for name in ("XDG_CACHE_HOME", "GRISTMILL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", missing)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/store", "/data/store"),
        ("file:/data/store", "/data/store"),
        ("file://localhost/data/store", "/data/store"),
        ("FILE:///data/store", "/data/store"),
        ("file:///data/a#b", "/data/a#b"),
        ("file:///data/a?b=c", "/data/a?b=c"),
        ("file:///data/a%23b%3Fc%20d", "/data/a#b?c d"),
        ("file:///data/100%", "/data/100%"),
        ("file:///data/%C3%A9t%C3%A9", "/data/été"),
        ("file:///data/[a]*", "/data/[a]*"),
    ],
)
def test_a_file_uri_names_the_path_that_it_shows(uri: str, path: str):
    assert folder_of(uri) == Path(path)
    assert Store(uri).objects.uri == Path(path).as_uri()


@pytest.mark.parametrize("name", ["plain", "a#b", "a?b", "a b", "100%", "%41", "é", "~", "[x]*", "\udcff"])
def test_the_uri_of_a_path_leads_back_to_it(tmp_path: Path, name: str):
    assert local_path((tmp_path / name).as_uri()) == tmp_path / name


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file:store", "file:store names no whole path\n  Write file:///path/to/store"),
        ("file:", "file: names no whole path"),
        ("file:///a%00b", "names no whole path"),
        ("file://server/share", "names the host server\n  A path has three slashes"),
        ("s3:/bucket/x", "s3:/bucket/x is not a folder, a file: URI or s3://BUCKET/PREFIX"),
        ("S3://bucket/x", "S3://bucket/x is not a folder, a file: URI or s3://BUCKET/PREFIX"),
        ("gs://bucket/x", r"For a folder of this name write \./gs://bucket/x"),
    ],
)
def test_an_address_that_names_no_store_is_refused(uri: str, words: str):
    with pytest.raises(UserError, match=words):
        Store(uri)


def test_a_tilde_is_the_home_folder_at_the_beginning_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert folder_of("~") == tmp_path / "home"
    assert folder_of("~/store") == tmp_path / "home" / "store"
    assert Store("./~").root == tmp_path / "~"
    assert Store("./~/store").root == tmp_path / "~" / "store"
    assert Store("a/~").root == tmp_path / "a" / "~"


def test_the_home_of_nobody_is_refused_in_words():
    with pytest.raises(
        UserError, match=r"~llm-nobody/x: there is no user llm-nobody on this machine\n.*\./~llm-nobody"
    ):
        folder_of("~llm-nobody/x")


@pytest.mark.usefixtures("nobody")
def test_without_a_home_a_tilde_is_refused_and_all_else_works(tmp_path: Path):
    with pytest.raises(UserError, match=rf"~/store: {NO_HOME}"):
        Store("~/store")
    assert Store(str(tmp_path)).root == tmp_path
    assert cache_folder().name == f"gristmill-{os.getuid()}"


@pytest.mark.usefixtures("nobody")
def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "")
    with pytest.raises(UserError, match=NO_HOME):
        folder_of("~")
