"""Which build of torch `make setup` and `make images` take, and what they say before they fetch it."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from scripts import install_torch
from scripts.install_torch import CPU_INDEX, Build, SetupError, chosen, install


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A machine: whether it has a GPU, whether its pip finds a CPU build, whether torch's own index answers."""

    def is_like(*, gpu: bool, pip_cpu: bool, index: bool) -> None:
        monkeypatch.setattr(install_torch, "has_gpu", lambda: gpu)
        monkeypatch.setattr(install_torch, "pip_finds_cpu_build", lambda version: pip_cpu)
        monkeypatch.setattr(install_torch, "answers", lambda url: index)

    return is_like


@pytest.mark.parametrize(
    ("choice", "gpu", "pip_cpu", "index", "kind", "source"),
    [
        ("auto", False, True, False, "CPU", None),
        ("auto", False, True, True, "CPU", CPU_INDEX),
        ("auto", False, False, True, "CPU", CPU_INDEX),
        ("auto", False, False, False, "CUDA", None),
        ("auto", True, True, True, "CUDA", None),
        ("cpu", True, False, True, "CPU", CPU_INDEX),
        ("cpu", True, True, False, "CPU", None),
        ("cuda", False, True, True, "CUDA", None),
        ("https://mirror.example/torch", False, False, False, "that index's", "https://mirror.example/torch"),
    ],
)
def test_the_cpu_build_is_taken_where_there_is_no_gpu(machine, choice, gpu, pip_cpu, index, kind, source) -> None:
    machine(gpu=gpu, pip_cpu=pip_cpu, index=index)
    assert chosen("2.13.0", choice) == Build("2.13.0", kind, source)


def test_a_cpu_build_that_is_nowhere_is_an_error_where_it_was_asked_for(machine) -> None:
    machine(gpu=False, pip_cpu=False, index=False)
    with pytest.raises(SetupError, match=r"finds no CPU build of torch 2\.13\.0, and .* does not answer"):
        chosen("2.13.0", "cpu")


def test_a_choice_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SetupError, match="TORCH=rocm is not a choice: TORCH=auto, cpu, cuda or the URL of an index"):
        chosen("2.13.0", "rocm")


def test_what_will_be_fetched_is_said_and_a_full_disk_refused_before_anything_is_fetched(
    machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(gpu=False, pip_cpu=False, index=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5e9))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was started"))
    with pytest.raises(SetupError, match=r"has 5\.0 GB free, and the environment needs 7\.0 GB\n  Free some space"):
        install("2.13.0", "auto")
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        f"torch: {CPU_INDEX} does not answer; asking pip which build it finds",
        "torch: no GPU here, but pip finds only a build that brings CUDA",
    ]
    assert said[2].startswith(
        "torch 2.13.0, CUDA build, from the index that pip knows: the environment will need about 7.0"
    )


def test_pip_is_not_asked_what_it_finds_where_torchs_own_index_answers(
    machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(gpu=False, pip_cpu=True, index=True)
    monkeypatch.setattr(install_torch, "pip_finds_cpu_build", lambda version: pytest.fail("pip may fetch the wheel"))
    assert chosen("2.13.0", "auto").index == CPU_INDEX


def test_pip_is_asked_for_the_build_of_the_chosen_index(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(gpu=False, pip_cpu=False, index=True)
    commands: list[list[str]] = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0)
    )
    install("2.13.0", "auto")
    assert commands[0][-4:] == ["--no-deps", "--index-url", CPU_INDEX, "torch==2.13.0"]
