"""Build the images with docker, and write down what they are (`make images`).

    scripts/make_images.py [NAME…] [--base IMAGE] [--push REGISTRY/REPOSITORY]

Leaves `build/images.json` (llm/images.py says what stands there), an OCI archive of each image below `build/images/`
for clusters that pull from nowhere, and docker's output in `build/images/NAME.log`. The build sees a copy of the
sources, so that somebody who edits them meanwhile does not make an image of two states. What is up to date is left
alone; after a change of ours only the last layers are made again. As many are built at a time as there are cores.

Where there is no GPU, torch is the CPU build (TORCH chooses: see scripts/install_torch.py). `train-cuda` is made only
when it is named: `train` with the CUDA build. In the end what only the build needed is removed; with KEEP_LAYERS=1 it
stays, and the next build after a change of ours takes seconds.

pip takes what it takes here: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS and PIP_TRUSTED_HOST reach the build,
and a folder of wheels is served to it over loopback.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import install_torch
import oci_archive
import wheel_server

from llm import __version__
from llm.errors import GristmillError, UserError
from llm.images import DEFAULT_PREFIX, NAMES, SOURCES, VARIANTS, Image, built, fingerprint, record

PROJECT = Path(__file__).resolve().parents[1]
BUILD = PROJECT / "build"
ARCHIVES = BUILD / "images"
TINY_MODEL = BUILD / "tiny-model"
PASSED_ON = (
    "PIP_INDEX_URL", "PIP_TRUSTED_HOST",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""Settings that a build needs as much as we do; no image keeps them."""
CLASSIC = {**os.environ, "DOCKER_BUILDKIT": "0"}
"""Environment of a build: the classic builder is everywhere, needs no plug-in, and no image of its own to be pulled."""
LAST_LINES = 30
DISK_GB = {"none": 5.0, "CPU": 25.0, "CUDA": 60.0}
"""What docker needs while it builds, by the build of torch that the images hold."""


def main() -> int:
    """Build what was asked for; 2 with the reason if that cannot be."""
    arguments = _arguments()
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    try:
        _require_docker()
        with wheel_server.served(os.environ.get("PIP_FIND_LINKS", "")) as wheels:
            variants = [name for name in arguments.names if name in VARIANTS]  # with another torch than the rest
            for names in filter(None, ([name for name in arguments.names if name not in VARIANTS], variants)):
                install = _installation(arguments.base, wheels, _announce(names))
                _make_all(names, install, arguments.push)
        if not os.environ.get("KEEP_LAYERS"):
            _docker("image", "prune", "--force", "--filter=label=gristmill.stage=build")
    except (GristmillError, oci_archive.ArchiveError, install_torch.SetupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{(BUILD / 'images.json').relative_to(PROJECT)} is written; next: scripts/load_images.py, or gristmill compile"
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the images with docker.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all of them if none is named")
    base = os.environ.get("BASE") or None
    parser.add_argument("--base", default=base, metavar="IMAGE", help="one with Python 3.11 and pip (default: $BASE)")
    parser.add_argument("--push", metavar="REPOSITORY", help="push to REPOSITORY/NAME, and take the digests from there")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(there := (*NAMES, *VARIANTS)):
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    arguments.names = arguments.names or list(NAMES)
    return arguments


def _require_docker() -> None:
    if shutil.which("docker") is None:
        raise UserError(
            "docker is not installed", "Install it (Debian: apt-get install docker.io) and start its daemon."
        )
    answer = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True)
    if answer.returncode:
        raise UserError(
            f"docker's daemon does not answer: {answer.stderr.strip()}",
            "Start it (`systemctl start docker`; scripts/ci/start_docker as root on Debian), or set DOCKER_HOST.",
        )


def _announce(names: list[str]) -> str:
    """Say what the builds fetch and the disk that they need; returns the extra indexes for pip.

    Raises UserError where docker's disk has no room for it.
    """
    indexes, need_gb = os.environ.get("PIP_EXTRA_INDEX_URL", ""), DISK_GB["none"]
    pinned = {name: version for name in names if (version := _torch(name)) is not None}
    if pinned:
        choice = os.environ.get("TORCH") or "auto"
        if set(names) <= set(VARIANTS) and "://" not in choice:
            choice = "cuda"  # a URL says which CUDA
        build = install_torch.chosen(next(iter(pinned.values())), choice)
        print(f"{', '.join(pinned)}: {build}", flush=True)
        indexes = " ".join(filter(None, (indexes, build.index)))
        need_gb = DISK_GB["CPU" if build.kind == "CPU" else "CUDA"]
    root = Path(_docker("info", "--format", "{{.DockerRootDir}}"))
    print(f"building needs about {need_gb:.0f} GB of disk in {root} for a while", flush=True)
    if root.exists() and (free_gb := shutil.disk_usage(root).free / 1e9) < need_gb:
        raise UserError(
            f"{root} has {free_gb:.1f} GB free", "Free some space (`docker image prune`), or move docker's folder."
        )
    return indexes


def _torch(name: str) -> str | None:
    """The version of torch that an image pins; None if it has none."""
    pins = (PROJECT / "images" / VARIANTS.get(name, name) / "requirements.txt").read_text().splitlines()
    return next((pin.removeprefix("torch==") for pin in pins if pin.startswith("torch==")), None)


def _installation(base: str | None, wheels: str, indexes: str) -> dict[str, str | None]:
    """The settings of every build: what it starts from, and where pip looks."""
    passed_on = {setting: os.environ.get(setting) for setting in PASSED_ON}
    return {"BASE": base, "PIP_FIND_LINKS": wheels, **passed_on, "PIP_EXTRA_INDEX_URL": indexes}


def _make_all(names: list[str], install: Mapping[str, str | None], push: str | None) -> None:
    """Build what images share, and meanwhile those that share nothing; then the others."""
    described = tomllib.loads((PROJECT / "images" / "images.toml").read_text())
    sharing = [name for name in names if "shares" in described[VARIANTS.get(name, name)]]
    with ThreadPoolExecutor(os.cpu_count()) as builders:
        shared = builders.submit(_share, install) if sharing else None
        made = [builders.submit(_make, name, install, push) for name in names if name not in sharing]
        if shared is not None:
            shared.result()
        made += [builders.submit(_make, name, install, push) for name in sharing]
        for one in made:
            one.result()


def _share(install: Mapping[str, str | None]) -> None:
    """Build the layers that images share, once: two builds that come to them at the same time make two of each."""
    with _alone("shared"), _sources(with_model=False) as context:
        _build("shared", context, context / "images" / "Dockerfile", install, "--target=torch")


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """One build of an image at a time, and one that writes the record: two would take turns at the tag."""
    with (ARCHIVES / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _sources(*, with_model: bool) -> Iterator[Path]:
    """A copy of what images are made of, as it is now."""
    with tempfile.TemporaryDirectory(prefix="context-", dir=BUILD) as folder:
        context = Path(folder)
        for name in SOURCES:
            shutil.copytree(PROJECT / name, context / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        if with_model:
            subprocess.run([sys.executable, PROJECT / "scripts" / "make_tiny_model.py"], check=True)
            shutil.copytree(TINY_MODEL, context / TINY_MODEL.relative_to(PROJECT))
        yield context


def _make(name: str, install: Mapping[str, str | None], push: str | None) -> None:
    """Build, check, describe and record one image."""
    reference = f"{push.rstrip('/') if push else DEFAULT_PREFIX}/{name}:{__version__}"
    with _alone(name), _sources(with_model=name == "triton") as context:
        started = time.monotonic()
        _build_image(name, reference, context, install)
        identity = _identity(reference)
        sources = fingerprint(context)
        before = built(PROJECT).get(name)
        if push:
            image = _pushed(reference, identity, sources)
        elif before is not None and before.id == identity and before.archive and (PROJECT / before.archive).is_file():
            image = replace(before, sources=sources)
        else:
            image = _archived(name, reference, identity, sources)
    with _alone("record"):
        record({**built(PROJECT), name: image}, PROJECT)
    if before is not None and before.id != identity:  # nameless now; if something still uses it, docker refuses
        subprocess.run(["docker", "image", "rm", before.id], capture_output=True, check=False)
    size = int(_docker("image", "inspect", "--format", "{{.Size}}", reference))
    print(f"{reference}  {size / 1e6:,.0f} MB  {image.digest}  {time.monotonic() - started:.0f} s", flush=True)


def _build_image(name: str, reference: str, context: Path, install: Mapping[str, str | None]) -> None:
    group = VARIANTS.get(name, name)
    described = tomllib.loads((context / "images" / "images.toml").read_text())[group]
    own = context / "images" / group / "Dockerfile"
    dockerfile = own if own.is_file() else context / "images" / "Dockerfile"
    settings = {
        **install,
        "BASE_NAME": install["BASE"] or _default_base(dockerfile),
        "IMAGE": None if dockerfile == own else group,
        "SHARES": described.get("shares"),
        "IMPORTS": " ".join(described["imports"]),
        "TITLE": described["title"] + (", CUDA build of torch" if name in VARIANTS else ""),
        "DESCRIPTION": described["description"],
        "VERSION": __version__,
        "REVISION": _revision(),
    }
    _build(name, context, dockerfile, settings, f"--tag={reference}")


def _build(name: str, context: Path, dockerfile: Path, settings: Mapping[str, str | None], option: str) -> None:
    given = [f"--build-arg={key}={value}" for key, value in settings.items() if value]
    command = ["docker", "build", "--network=host", f"--file={dockerfile}", option, *given, str(context)]
    log = ARCHIVES / f"{name}.log"
    with log.open("w") as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=CLASSIC, check=False)
    if ended.returncode:
        tail = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise UserError(f"docker could not build {name}; {log.relative_to(PROJECT)} ends with", *tail)


def _default_base(dockerfile: Path) -> str:
    line = next(line for line in dockerfile.read_text().splitlines() if line.startswith("ARG BASE="))
    return line.removeprefix("ARG BASE=")


def _archived(name: str, reference: str, identity: str, sources: str) -> Image:
    archive = ARCHIVES / f"{name}.tar"
    with tempfile.TemporaryDirectory(prefix="save-", dir=ARCHIVES) as folder:
        saved, fresh = Path(folder) / "saved.tar", Path(folder) / "oci.tar"
        _docker("save", f"--output={saved}", reference)
        written = oci_archive.convert(saved, fresh, reference)
        if _identity(reference) != identity:
            raise UserError(f"{reference} was built again by another process at the same time", "Run it again.")
        fresh.replace(archive)
    where = archive.relative_to(PROJECT).as_posix()
    return Image(reference, identity, written.digest, written.size_bytes, where, sources)


def _identity(reference: str) -> str:
    return _docker("image", "inspect", "--format", "{{.Id}}", reference)


def _pushed(reference: str, identity: str, sources: str) -> Image:
    """Push, and take the digest that the registry gave."""
    _docker("push", "--quiet", reference)
    repository = reference.rpartition(":")[0]
    digests = _docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', reference).split()
    wanted = oci_archive.full_name(repository)  # docker leaves its own registry's name out
    named = [one.partition("@")[2] for one in digests if oci_archive.full_name(one.partition("@")[0]) == wanted]
    if not named:
        raise UserError(
            f"{reference} was pushed, and docker knows no digest of it there, but {', '.join(digests) or 'none'}",
            "Give --push the repository's name as docker writes it (`docker image ls`).",
        )
    size = int(_docker("image", "inspect", "--format", "{{.Size}}", reference))
    return Image(reference, identity, named[0], size, None, sources)


def _revision() -> str:
    """The commit of the sources, `-dirty` behind it if they differ from it."""
    git: dict[str, Any] = {"cwd": PROJECT, "capture_output": True, "text": True, "check": False}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **git)
        if commit.returncode:
            return "unknown"
        changed = subprocess.run(["git", "status", "--porcelain", "--", *SOURCES], **git).stdout.strip()
    except FileNotFoundError:
        return "unknown"
    return commit.stdout.strip() + ("-dirty" if changed else "")


def _docker(*arguments: str) -> str:
    """Output of a docker command; raises UserError with docker's own words."""
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"docker {arguments[0]} failed: {answer.stderr.strip()}")
    return answer.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
