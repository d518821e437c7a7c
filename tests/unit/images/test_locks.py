"""The images' locks are what the environment and its pins say, and an inconsistent set of pins is no lock."""

from __future__ import annotations

import platform
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from llm.images import NAMES
from scripts import lock_images
from scripts.lock_images import PYTHON, LockError, closure, shared

PROJECT = Path(__file__).parents[3]
IMAGES = tomllib.loads((PROJECT / "images" / "images.toml").read_text())


def pins(name: str) -> dict[str, str]:
    lines = (PROJECT / "images" / name / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.skipif(
    platform.python_version_tuple()[:2] != tuple(PYTHON.split(".")), reason=f"the locks are for Python {PYTHON}"
)
def test_no_lock_is_stale():
    command = [sys.executable, PROJECT / "scripts" / "lock_images.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", [name for name, image in IMAGES.items() if "shares" in image])
def test_an_image_holds_what_it_shares_and_something_of_its_own(name: str):
    shared = pins("common") | (pins("torch") if IMAGES[name]["shares"] == "torch" else {})
    assert shared.items() < pins(name).items()


def test_what_is_shared_is_what_all_need_and_what_those_with_torch_need_besides():
    described = {name: {"shares": shares} for name, shares in (("a", "common"), ("b", "torch"), ("c", "torch"))}
    locks = {"a": "# a\nx==1\n", "b": "# b\nx==1\ny==1\nz==1\n", "c": "# c\nx==1\ny==1\n", "alone": ""}
    assert shared({**described, "alone": {}}, locks) == {
        "common": "# What a, b, c share: `make lock` makes this from their lists.\nx==1\n",
        "torch": "# What b, c share: `make lock` makes this from their lists.\ny==1\n",
    }


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """What the script ends with and says, for a Python and pins of ours."""

    def run(python: str, pins: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lock_images.py", "--check"])
        monkeypatch.setattr(lock_images, "default_environment", lambda: {"python_version": python})
        monkeypatch.setattr(lock_images, "LOCK", str(pins))
        return lock_images.main(), capsys.readouterr().err

    return run


def test_another_python_than_the_images_makes_no_lock(ended, tmp_path: Path):
    assert ended("3.13", tmp_path / "none") == (
        2, "error: this is Python 3.13, and the images have 3.11: run it in an environment of that one\n"
    )  # fmt: skip


def test_pins_that_do_not_fit_end_the_script_with_the_reason(ended, tmp_path: Path):
    (tmp_path / "lock.txt").touch()
    code, said = ended(PYTHON, tmp_path / "lock.txt")
    assert code == 2
    assert said.startswith("error: ")
    assert said.endswith(" is wanted, and nothing pins it: run `make setup`, then `make lock`\n")


def test_every_image_is_described():
    assert tuple(IMAGES) == NAMES


def test_images_hold_what_their_steps_need_and_no_more():
    assert "torch" not in pins("data").keys() | pins("registry").keys() | pins("triton").keys()
    assert {"boto3", "kfp"} <= pins("data").keys() & pins("train").keys() & pins("export").keys() & pins(
        "registry"
    ).keys()
    assert pins("triton")["numpy"].startswith("1."), "nvidia-pytriton needs numpy below 2"


def test_the_images_share_their_versions():
    everywhere = [pins(name) for name in NAMES if "pins" not in IMAGES[name]]
    for one in everywhere:
        for other in everywhere:
            assert {one[name] == other[name] for name in one.keys() & other.keys()} <= {True}


def test_a_closure_goes_to_any_depth():
    pinned = {"click": "8.5.1", "hydra-core": "1.3.8", "omegaconf": "2.3.1", "packaging": "26.3", "pyyaml": "6.0.3",
              "antlr4-python3-runtime": "4.9.3"}  # fmt: skip
    assert closure([Requirement("hydra-core>=1.3")], pinned) == pinned.keys() - {"click"}


@pytest.mark.parametrize(
    ("requirement", "pinned", "reason"),
    [
        ("click>=9", {"click": "8.5.1"}, r"click==8\.5\.1 is pinned, and something requires click>=9"),
        ("click>=8", {}, "click>=8 is wanted, and nothing pins it"),
        ("no-such-thing", {"no-such-thing": "1"}, "no-such-thing is not installed here"),
    ],
)
def test_pins_that_do_not_fit_are_refused(requirement: str, pinned: dict[str, str], reason: str):
    with pytest.raises(LockError, match=reason):
        closure([Requirement(requirement)], pinned)


def test_what_a_cuda_build_of_torch_requires_is_not_in_a_lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        lock_images, "requires", lambda name: ["nvidia-cublas-cu12==12.6", "triton==3.4", "sympy>=1.13"]
    )
    assert [one.name for one in lock_images._required_by("torch", ())] == ["sympy"]
