"""What docker says of an image becomes what we write down of it. Docker is a script here that answers as told."""

from __future__ import annotations

import importlib
import os
import shutil
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
def docker(make_images: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Answers by the beginning of what docker is asked, as lines of a shell's `case`."""

    def answer(*cases: str) -> None:
        path = tmp_path / "bin" / "docker"
        path.parent.mkdir(exist_ok=True)
        lines = ["#!/bin/sh", 'case "$*" in', *cases, '*) echo "not told: $*" >&2; exit 1;;', "esac"]
        path.write_text("\n".join(lines))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=":")
        monkeypatch.setitem(make_images.CLASSIC, "PATH", os.environ["PATH"])

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
    with pytest.raises(
        UserError, match=r"gristmill/train:1 was built again by another process at the same time\n  Run it again"
    ):
        make_images._archived("train", "gristmill/train:1", DIGEST, "sources")
    assert not (tmp_path / "build" / "train.tar").exists()


DIGESTS = "*RepoDigests*"


@pytest.mark.parametrize(
    ("pushed", "known"),
    [("docker.io/acme", "acme"), ("acme", "docker.io/acme"), ("registry.example:5000/ml", "registry.example:5000/ml")],
)
def test_the_digest_is_the_registrys_however_docker_writes_its_name(make_images, docker, pushed: str, known: str):
    other = f"elsewhere.example/train@sha256:{'0' * 64}"
    docker("push*) ;;", f"{DIGESTS}) echo {other} {known}/train@{DIGEST};;", "*Size*) echo 7;;")
    image = make_images._pushed(f"{pushed}/train:1", "sha256:1", "sources")
    assert (image.pinned, image.size_bytes) == (f"{pushed}/train@{DIGEST}", 7)


@pytest.mark.parametrize(("known", "named"), [(f"acme/train@{DIGEST}", f"acme/train@{DIGEST}"), ("", "none")])
def test_a_pushed_image_without_a_digest_of_that_registry_is_refused(make_images, docker, known: str, named: str):
    docker("push*) ;;", f"{DIGESTS}) echo {known};;")
    with pytest.raises(UserError, match=rf"^mine\.example/train:1 was pushed, .* but {named}\n.*as docker writes it"):
        make_images._pushed("mine.example/train:1", "sha256:1", "sources")


def test_a_build_that_fails_is_named_with_dockers_last_words(make_images, docker, tmp_path: Path):
    docker("build*) seq 1 40; echo no such image >&2; exit 3;;")
    said = r"^docker could not build shared; build/shared\.log ends with\n  12\n"
    with pytest.raises(UserError, match=said) as refused:
        make_images._build("shared", tmp_path, tmp_path / "Dockerfile", {"BASE": "my/base"}, "--target=torch")
    assert str(refused.value).endswith("40\n  no such image")


def test_what_images_share_is_built_once_and_before_them(make_images, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []

    def share(install) -> None:
        order.append("shared")

    def make(name, install, push) -> None:
        order.append(name)

    (make_images.PROJECT / "images").mkdir()
    shutil.copy(SCRIPTS.parent / "images" / "images.toml", make_images.PROJECT / "images")
    monkeypatch.setattr(make_images, "_share", share)
    monkeypatch.setattr(make_images, "_make", make)
    make_images._make_all(["data", "train", "triton"], {}, None)
    assert sorted(order) == ["data", "shared", "train", "triton"]
    assert order.index("shared") < min(order.index("data"), order.index("train"))
    order.clear()
    make_images._make_all(["triton"], {}, None)
    assert order == ["triton"]
