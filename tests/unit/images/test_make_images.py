"""What docker says of an image becomes what we write down of it. Docker is a script here that answers as told."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from llm.errors import UserError
from llm.images import NAMES, SOURCES, Image
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


CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@pytest.fixture
def plan(make_images, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The builds that docker would be asked for: image or stage, its settings, and the tag."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "BASE", "TORCH"):
        monkeypatch.delenv(name, raising=False)
    for name in SOURCES:
        (tmp_path / name).mkdir()
    shutil.copytree(SCRIPTS.parent / "images", tmp_path / "images", dirs_exist_ok=True)
    monkeypatch.setattr(make_images, "BUILD", tmp_path / "build")
    monkeypatch.setattr(make_images, "_require_docker", lambda: None)
    monkeypatch.setattr(make_images, "_docker", lambda *words: "1" if "image" in words else "/nowhere")
    monkeypatch.setattr(make_images.install_torch, "answers", lambda index: True)
    monkeypatch.setattr(make_images.install_torch, "has_gpu", lambda: False)
    monkeypatch.setattr(
        make_images, "_archived", lambda name, reference, *rest: Image(reference, "1", f"sha256:{name}", 1, None, "x")
    )

    def run(*names: str, torch: str = "") -> dict[str, tuple[dict[str, str | None], str]]:
        monkeypatch.setenv("TORCH", torch)
        monkeypatch.setattr("sys.argv", ["make_images.py", *names])
        asked = {}

        def build(name, context, dockerfile, settings, option) -> None:
            assert dockerfile == context / "images" / "Dockerfile"
            asked[f"{name} {settings['PIP_EXTRA_INDEX_URL']}" if name == "shared" else name] = (settings, option)

        monkeypatch.setattr(make_images, "_build", build)
        assert make_images.main() == 0
        return asked

    return run


def test_the_cuda_image_is_the_train_image_with_the_torch_that_pip_finds(plan, make_images):
    asked = plan("train", "train-cuda")
    (cpu, cpu_tag), (cuda, cuda_tag) = asked["train"], asked["train-cuda"]
    assert cpu_tag.startswith("--tag=gristmill/train:")
    assert cuda_tag.startswith("--tag=gristmill/train-cuda:")
    differing = {key for key in cpu if cpu[key] != cuda[key]}
    assert differing == {"PIP_EXTRA_INDEX_URL", "TITLE"}, "the same file, libraries and code"
    assert (cpu["PIP_EXTRA_INDEX_URL"], cuda["PIP_EXTRA_INDEX_URL"]) == (CPU_INDEX, "")
    assert {key for key in asked if key.startswith("shared")} == {f"shared {CPU_INDEX}", "shared "}, "a layer of each"
    assert set(make_images.built(make_images.PROJECT)) == {"train", "train-cuda"}


def test_an_index_says_which_cuda_the_image_has(plan):
    index = "https://download.pytorch.org/whl/cu130"
    settings, _ = plan("train-cuda", torch=index)["train-cuda"]
    assert settings["PIP_EXTRA_INDEX_URL"] == index
    settings, _ = plan("train-cuda", torch="cpu")["train-cuda"]
    assert settings["PIP_EXTRA_INDEX_URL"] == "", "an image of that name never holds the CPU build"


def test_the_cuda_image_is_made_only_when_it_is_named(plan, make_images, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    monkeypatch.setattr(make_images, "_make_all", lambda names, install, push: made.extend(names))
    plan()
    assert made == list(NAMES)
    with pytest.raises(SystemExit):
        plan("train-rocm")
