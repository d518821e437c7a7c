"""Install the pinned torch into this environment: the CPU build where there is no GPU (`make setup` calls it).

    scripts/install_torch.py VERSION

PyPI's torch for Linux on x86_64 is a CUDA build of several GB. TORCH chooses:

    auto   (default) the CPU build where no NVIDIA GPU is found, else what pip finds
    cpu    the CPU build, or an error
    cuda   what pip finds
    URL    an index that has the wanted build

Says what will be fetched, and refuses to start where the disk has no room for it. Needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""torch's own index of CPU builds: https://pytorch.org/get-started/locally/."""
INDEX_ANSWERS_SECONDS = 10.0
SETTING = "TORCH=auto, cpu, cuda or the URL of an index"
CPU_GB, CUDA_GB = 2.8, 7.0
"""Disk that the environment needs with either build, with some room."""


class SetupError(Exception):
    """What keeps torch from being installed, with what to do."""


def main() -> int:
    """Install; 2 with the reason if that cannot be."""
    (version,) = sys.argv[1:]
    try:
        if not is_installed(version):
            install(version, os.environ.get("TORCH") or "auto")
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def install(version: str, choice: str) -> None:
    """Choose a build, say what it needs, and install it without what it depends on (the lock brings that)."""
    build = chosen(version, choice)
    print(f"{build}: the environment will need about {build.disk_gb} GB of disk ({SETTING})", flush=True)
    free_gb = shutil.disk_usage(sys.prefix).free / 1e9
    if free_gb < build.disk_gb:
        raise SetupError(
            f"the disk of {sys.prefix} has {free_gb:.1f} GB free, and the environment needs {build.disk_gb} GB\n"
            "  Free some space, or choose the CPU build: TORCH=cpu."
        )
    index = ["--index-url", build.index] if build.index else []
    command = [*PIP, "install", "--quiet", "--no-deps", *index, f"torch=={version}"]
    if subprocess.run(command, check=False).returncode:
        raise SetupError(f"pip could not install torch {version}; its own words stand above")


@dataclass(frozen=True)
class Build:
    """A build of torch, and where it comes from."""

    version: str
    kind: str
    index: str | None
    """None: what pip finds as it is set up here."""

    @property
    def disk_gb(self) -> float:
        """What an environment with it needs."""
        return CPU_GB if self.kind == "CPU" else CUDA_GB

    def __str__(self) -> str:
        """In words."""
        return f"torch {self.version}, {self.kind} build, from {self.index or 'the index that pip knows'}"


def chosen(version: str, choice: str) -> Build:
    """The build that a choice means here; raises SetupError if there is none."""
    if "://" in choice:
        return Build(version, "that index's", choice)
    if choice not in ("auto", "cpu", "cuda"):
        raise SetupError(f"TORCH={choice} is not a choice: {SETTING}")
    if choice == "cuda" or (choice == "auto" and has_gpu()):
        return Build(version, "CUDA", None)
    if answers(CPU_INDEX):  # before pip is asked: a pip before 25.1 fetches the whole wheel to answer
        return Build(version, "CPU", CPU_INDEX)
    print(f"torch: {CPU_INDEX} does not answer; asking pip which build it finds", flush=True)
    if pip_finds_cpu_build(version):
        return Build(version, "CPU", None)
    if choice == "cpu":
        raise SetupError(
            f"TORCH=cpu: pip finds no CPU build of torch {version}, and {CPU_INDEX} does not answer\n"
            "  Set TORCH=URL to an index that has one, or TORCH=cuda."
        )
    print("torch: no GPU here, but pip finds only a build that brings CUDA", flush=True)
    return Build(version, "CUDA", None)


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def is_installed(version: str) -> bool:
    """Whether this environment has that torch, whatever its build."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("torch").partition("+")[0] == version
    except PackageNotFoundError:
        return False


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU: its driver makes the device."""
    return Path("/dev/nvidiactl").exists()


def pip_finds_cpu_build(version: str) -> bool:
    """Whether pip as it is set up here would take a build without CUDA (a mirror, a folder of wheels, not x86_64)."""
    command = [*PIP, "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-",
               f"torch=={version}"]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SetupError(f"pip finds no torch {version}:\n{answer.stderr.strip()}")
    metadata = json.loads(answer.stdout)["install"][0]["metadata"]
    needs_cuda = any(need.startswith(("nvidia-", "cuda-")) for need in metadata.get("requires_dist", []))
    return "+cpu" in metadata["version"] or not needs_cuda


def answers(index: str) -> bool:
    """Whether an index can be reached from here."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=INDEX_ANSWERS_SECONDS):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
