"""What docker says of an image becomes what we write down of it. Docker is a script here that answers as told."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from llm.errors import UserError
from tests.unit.images.test_oci_archive import saved, sha256

SCRIPTS = Path(__file__).parents[3] / "scripts"
DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture
def make_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, at work on a project of its own."""
    monkeypatch.syspath_prepend(SCRIPTS)
    module = importlib.import_module("make_images")
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(module, "ARCHIVES", tmp_path / "build")
    (tmp_path / "build").mkdir()
    return module


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Answers by the beginning of what docker is asked, as lines of a shell's `case`."""

    def answer(*cases: str) -> None:
        path = tmp_path / "bin" / "docker"
        path.parent.mkdir(exist_ok=True)
        lines = ["#!/bin/sh", 'case "$*" in', *cases, '*) echo "not told: $*" >&2; exit 1;;', "esac"]
        path.write_text("\n".join(lines))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")

    return answer


IDENTITY = "'image inspect --format {{.Id}} gristmill/train:1'"


def test_an_image_is_known_by_dockers_id_whatever_that_is_the_digest_of(make_images, docker, tmp_path: Path):
    source = saved(tmp_path / "saved.tar")
    docker(f"{IDENTITY}) echo {DIGEST};;", f'save*) cp {source} "${{2#--output=}}";;')
    image = make_images._archived("train", "gristmill/train:1", DIGEST, "sources")
    assert (image.id, image.archive) == (DIGEST, "build/train.tar")
    assert (tmp_path / "build" / "train.tar").is_file()


def test_an_image_that_was_built_anew_while_it_was_saved_is_not_taken(make_images, docker, tmp_path: Path):
    source = saved(tmp_path / "saved.tar")
    docker(f"{IDENTITY}) echo {sha256(b'another')};;", f'save*) cp {source} "${{2#--output=}}";;')
    with pytest.raises(UserError, match=r"gristmill/train:1 was built anew by somebody else meanwhile\n  Run it again"):
        make_images._archived("train", "gristmill/train:1", DIGEST, "sources")
    assert not (tmp_path / "build" / "train.tar").exists()
