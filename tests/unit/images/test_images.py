"""Which image a pod is told to run: by digest only while the sources are those that it was built from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm import __version__
from llm.errors import DamagedError
from llm.images import (
    CUDA_IMAGE,
    OF_STEPS,
    PREFIX,
    SOURCES,
    TRAIN_IMAGE,
    Image,
    built,
    fingerprint,
    record,
    references,
    unbuilt,
    unbuilt_warnings,
)
from llm.serving.triton.installation import VARIABLE

DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(PREFIX, raising=False)
    for name in (*SOURCES, "build"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path


def build(tree: Path, *names: str, repository: str = "gristmill") -> None:
    record(
        {
            name: Image(f"{repository}/{name}:{__version__}", f"sha256:{'1' * 64}", DIGEST, 1, None, fingerprint(tree))
            for name in names
        },
        tree,
    )


def test_what_was_recorded_is_read_again(tree: Path):
    build(tree, "data", "train")
    assert built(tree)["train"].pinned == f"gristmill/train@{DIGEST}"
    assert list(built(tree)) == ["data", "train"]


def test_an_image_of_these_sources_goes_by_its_digest(tree: Path):
    build(tree, "train")
    assert references("train", project=tree) == [f"gristmill/train@{DIGEST}"]
    assert unbuilt(("train",), tree) is None


@pytest.mark.parametrize("change", ["llm/file", "pipelines/new", "images/train/Dockerfile"])
def test_an_image_of_other_sources_goes_by_its_tag(tree: Path, change: str):
    build(tree, "train")
    (tree / change).parent.mkdir(exist_ok=True)
    (tree / change).write_text("changed")
    assert references("train", project=tree) == [f"gristmill/train:{__version__}"]
    assert unbuilt(("train",), tree) == "the image train was not built from the sources that are here now"


@pytest.mark.parametrize("change", ["build/other", "README.md", "llm/__pycache__/file.pyc", "llm/.file.swp"])
def test_what_is_in_no_image_changes_nothing(tree: Path, change: str):
    build(tree, "train")
    (tree / change).parent.mkdir(exist_ok=True)
    (tree / change).write_text("changed")
    assert references("train", project=tree) == [f"gristmill/train@{DIGEST}"]


def test_an_image_that_was_never_built_goes_by_its_tag(tree: Path):
    assert references("data", "train", project=tree) == [
        f"gristmill/{name}:{__version__}" for name in ("data", "train")
    ]
    build(tree, "train")
    assert references("data", "train", project=tree)[0] == f"gristmill/data:{__version__}"
    assert unbuilt(("data", "train"), tree) == "the image data was not built"
    assert unbuilt(("data", "export"), tree) == "the images data, export were not built"


def test_a_training_on_gpus_without_its_image_is_warned_of(tree: Path, monkeypatch: pytest.MonkeyPatch):
    build(tree, *OF_STEPS)
    assert unbuilt_warnings("auto", tree) == []
    (warning,) = unbuilt_warnings("cuda", tree)
    assert (
        "the image train-cuda was not built: the pods of the training run the image train, whose torch has no"
        in warning
    )
    with monkeypatch.context() as patch:
        patch.setenv(TRAIN_IMAGE, "registry.example/mine")
        assert unbuilt_warnings("cuda", tree) == []
    build(tree, *OF_STEPS, CUDA_IMAGE)
    assert unbuilt_warnings("cuda", tree) == []
    (tree / "llm" / "file").write_text("changed")
    assert "the pods of the training run its tag" in unbuilt_warnings("cuda", tree)[1]


def test_a_registry_stands_before_the_name(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(PREFIX, "registry.example/team/")
    assert references("train", project=tree) == [f"registry.example/team/train:{__version__}"]
    build(tree, "train")
    assert references("train", project=tree) == [f"registry.example/team/train@{DIGEST}"]


def test_an_image_that_was_pushed_keeps_its_registry(tree: Path):
    build(tree, "train", repository="registry.example:5000/team")
    assert references("train", project=tree) == [f"registry.example:5000/team/train@{DIGEST}"]


def test_the_image_triton_says_where_its_triton_is():
    dockerfile = (Path(__file__).parents[3] / "images" / "triton" / "Dockerfile").read_text()
    (place,) = re.findall(rf"\b{VARIABLE}=(\S+)", dockerfile)
    assert f"python3 -m venv --without-pip {place} \\\n" in dockerfile


def test_a_record_that_is_none_is_refused_by_name(tree: Path):
    (tree / "build" / "images.json").write_text('{"train": {"colour": "blue"}}')
    with pytest.raises(DamagedError, match=r"images\.json is not a list of images"):
        references("train", project=tree)
