"""What a step in a container sees of this machine: what the configuration names, where it is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.config import RunConfig, compose
from llm.errors import UserError
from llm.runner.mounts import FILES_IN_ENVIRONMENT, places


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES_IN_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "below" / "b.txt").write_text("b")
    return folder


def config(tmp_path: Path, *overrides: str) -> RunConfig:
    return compose([f"run.folder={tmp_path / 'runs'}", f"storage.uri={tmp_path / 'store'}", *overrides])


def seen(config: RunConfig) -> dict[str, bool]:
    """Whether it may be written, by path."""
    return {str(place.path): place.is_writable for place in places(config)}


def test_runs_and_store_are_written_and_texts_only_read(tmp_path: Path, texts: Path):
    expected = {str(tmp_path / "runs"): True, str(tmp_path / "store"): True, str(texts): False}
    assert seen(config(tmp_path, f"data.path={texts}")) == expected


def test_folders_to_write_into_are_made_by_us_and_not_by_docker(tmp_path: Path):
    places(config(tmp_path))
    assert (tmp_path / "runs").is_dir()
    assert (tmp_path / "store").is_dir()


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("texts", "texts"),
        ("texts/*.txt", "texts"),
        ("texts/**/*.txt", "texts"),
        ("t*/a.txt", "."),
        ("texts/a.txt", "texts/a.txt"),
    ],
)
def test_of_the_texts_what_stands_before_a_wildcard_is_seen(tmp_path: Path, texts: Path, path: str, root: str):
    assert str((tmp_path / root).absolute()) in seen(config(tmp_path, f"data.path={path}"))


def test_the_users_home_means_the_users_home(tmp_path: Path):
    (tmp_path / "home" / "texts").mkdir()
    (tmp_path / "home" / "texts" / "a.txt").write_text("a")
    (tmp_path / "home" / ".aws").mkdir()
    shared = seen(config(tmp_path, "data.path=~/texts"))
    assert shared[str(tmp_path / "home" / "texts")] is False
    assert shared[str(tmp_path / "home" / ".aws")] is False, "keys for S3 may lie there"


def test_the_standard_library_is_the_images_own(tmp_path: Path):
    assert set(seen(config(tmp_path, "data.path=stdlib"))) == {str(tmp_path / "runs"), str(tmp_path / "store")}


def test_a_path_through_a_link_is_seen_under_both_names(tmp_path: Path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "large disk")
    shared = seen(config(tmp_path))
    assert shared[str(tmp_path / "store")]
    assert shared[str(tmp_path / "large disk")], "manifests name the folder behind the link"


def test_a_text_that_only_a_link_leads_to_is_refused_by_name(tmp_path: Path, texts: Path):
    (tmp_path / "elsewhere.txt").write_text("c")
    (texts / "c.txt").symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(UserError, match=r"texts/c\.txt is a link to .*elsewhere\.txt, which a container does not see"):
        places(config(tmp_path, f"data.path={texts}"))


def test_a_link_among_the_texts_is_followed(tmp_path: Path, texts: Path):
    (texts / "c.txt").symlink_to("a.txt")
    assert str(texts) in seen(config(tmp_path, f"data.path={texts}"))


@pytest.mark.parametrize(
    ("override", "own"),
    [
        ("data.path=/usr/share", "/usr"),
        ("storage.uri=/opt/gristmill/store", "/opt/gristmill"),
        ("run.folder=/", "/bin"),
        ("storage.uri=/tmp", "/tmp"),
    ],
)
def test_what_would_hide_the_image_is_refused(tmp_path: Path, override: str, own: str):
    with pytest.raises(UserError, match=f"would hide the image's own {own} in a container"):
        places(config(tmp_path, override))


def test_a_store_in_s3_is_fetched_into_the_same_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    shared = seen(config(tmp_path, "storage.uri=s3://bucket/store"))
    assert shared == {str(tmp_path / "runs"): True, str(tmp_path / "cache"): True}


def test_a_suite_and_a_database_of_the_users_are_seen(tmp_path: Path):
    (tmp_path / "my.json").write_text("{}")
    (tmp_path / "mlflow").mkdir()
    overrides = [f"validation.suite={tmp_path / 'my.json'}", f"tracking.uri=sqlite:///{tmp_path / 'mlflow' / 'a.db'}"]
    shared = seen(config(tmp_path, *overrides))
    assert shared[str(tmp_path / "my.json")] is False
    assert shared[str(tmp_path / "mlflow")] is True


def test_files_that_the_environment_names_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "certificates.pem").touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificates.pem"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'one'}:{tmp_path / 'certificates.pem'}")
    assert seen(config(tmp_path))[str(tmp_path / "certificates.pem")] is False


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"storage\.uri=.*/file/store cannot be made: Not a directory"):
        places(config(tmp_path, f"storage.uri={tmp_path / 'file' / 'store'}"))
